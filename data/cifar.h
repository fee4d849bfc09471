// CIFAR-10 and CIFAR-100, binary versions (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html).
#pragma once

#include <filesystem>
#include <vector>

#include "data/image_array.h"

namespace lacuna {

enum class CifarKind : std::uint8_t { cifar10, cifar100 };

/// Reads files of records [label u8][3072 bytes: red, green, blue planes] or, for CIFAR-100, [coarse][fine][3072]; the
/// fine label is the class. Throws DataError (missing, not a whole number of records, empty, label out of range).
ImageArray read_cifar(const std::vector<std::filesystem::path>& files, CifarKind kind);

/// The training or test files below `root`: the directory that holds them, or the one it was unpacked into.
/// Throws DataError unless all are there.
std::vector<std::filesystem::path> cifar_files(const std::filesystem::path& root, CifarKind kind, bool training);

}  // namespace lacuna
