// Typed errors. Every message reads `[where] what was given; what must hold`.
#pragma once

#include <stdexcept>
#include <string>

namespace lacuna {

/// Base of everything the library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  Error(const std::string& where, const std::string& message) : std::runtime_error("[" + where + "] " + message) {}
};

class ShapeError : public Error {
 public:
  using Error::Error;
};  ///< shapes that do not fit together
class DtypeError : public Error {
 public:
  using Error::Error;
};  ///< a dtype an op does not take
class DeviceError : public Error {
 public:
  using Error::Error;
};  ///< operands on different devices, or no such device
class BackendError : public Error {
 public:
  using Error::Error;
};  ///< this build or machine lacks the backend
class ValueError : public Error {
 public:
  using Error::Error;
};  ///< an argument out of its range
class IndexError : public Error {
 public:
  using Error::Error;
};  ///< an index outside its axis, or a count past 2^31 - 1
class ConfigError : public Error {
 public:
  using Error::Error;
};  ///< exit code 2
/// A ConfigError about one key, so that whoever knows the file can say where it was written.
class ConfigKeyError : public ConfigError {
 public:
  ConfigKeyError(const std::string& key, const std::string& message)
      : ConfigError(key, message), key_(key), message_(message) {}
  const std::string& key() const { return key_; }          ///< "pruning.include"
  const std::string& message() const { return message_; }  ///< goes on from the key: "'x' matches no weight; ..."

 private:
  std::string key_;
  std::string message_;
};
class DataError : public Error {
 public:
  using Error::Error;
};  ///< a data file that is missing or malformed; exit code 3
class CheckpointError : public Error {
 public:
  using Error::Error;
};  ///< a checkpoint that does not verify; exit code 3
class DivergedError : public Error {
 public:
  using Error::Error;
};  ///< loss or gradient not finite; exit code 4

/// A device ran out of memory; exit code 5. Names the op, the request and what was free.
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace lacuna
