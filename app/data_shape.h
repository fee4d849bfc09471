// What a config alone tells of its data, so that shapes can be planned and timed where the data set is not on the disk.
// Training never uses this: it opens the data or fails.
#pragma once

#include <optional>
#include <string>

#include "app/run_config.h"
#include "data/data_config.h"

namespace lacuna {

/// Whether nothing lies at data.path. False for data made on the spot, and where something is there, however broken.
bool data_is_absent(const DataConfig& config);

/// "nothing lies at data.path 'datasets/mnist': " and how to come by the data set.
std::string absence_of(const DataConfig& config);

/// The shape the data will have, where model and data section tell it without opening anything: of text, tokens, CIFAR,
/// folders of images when model.num_classes is given. Nothing for idx files, and for folders without model.num_classes.
std::optional<DataShape> told_shape(const RunConfig& config);

/// Random examples in place of the data set: data.train alone, of the told shape (idx: as MNIST's).
struct MadeUpData {
  DataSplits data;
  std::string note;  ///< one line on what stands for what
};
/// Where the number of examples matters (a length in epochs) it is the public set's: CIFAR's, MNIST's, ImageNet's for 1,000
/// classes. Throws ConfigError, with the place of the key to set, when shape or that number cannot be known.
MadeUpData make_up_data(const RunConfig& config);

}  // namespace lacuna
