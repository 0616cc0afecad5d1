// shm/result.h -- Result<T> of this folder: a value, or an Error of one kind with a sentence.
//
// Its own, because shm/ knows nobody. Nothing here throws; only memory that runs out in the C++ library does.
// A result without an error is two words, so that a push of one row stays cheap.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace banyan::shm {

enum class ErrorKind : std::uint8_t {
  kBadName,     // a name outside the allow-list
  kBadToken,    // not a token, or one that contradicts itself
  kMismatch,    // a token, a segment and a record that do not belong together
  kNotFound,    // nobody has made that name
  kExists,      // somebody has, and lives
  kGone,        // the owner has ended, and its memory with it
  kEnded,       // the owner has said that nothing more will come; what is there can still be read
  kOwnerDied,   // the owner went without saying so
  kReadOnly,    // a push through what was attached
  kFull,        // no room for all of it, so none of it was taken
  kOutOfRange,  // rows that there are not
  kNotAllowed,  // what this segment was not made for
  kLost,        // rows that the ring has overwritten
  kFields,      // records whose fields do not match by name
  kCorrupt,     // the other side wrote what cannot be
  kUnsafe,      // memory that could be taken away beneath us, so it was not mapped
  kBusy,  // the other side is in the middle of something for too long; or somebody has that place already
  kTimeout,
  kCancelled,
  kTooLong,
  kNoSpace,  // no memory, or no room for the name
  kSystem,   // anything else the kernel says
};

std::string_view name_of(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::kSystem;
  std::string text;      // one sentence, no trailing full stop
  int system_error = 0;  // errno, or 0
};

// An Error for a failed system call: "memfd_create: Too many open files".
Error system_error(std::string_view what, int error_number, ErrorKind kind = ErrorKind::kSystem);

// Holds a T or an Error. Reading the wrong one is the caller's own fault, and aborts.
template <class T>
class [[nodiscard]] Result {
 public:
  // Implicit, so that `return value;` and `return Error{...};` work.
  Result(T value) : value_(std::move(value)) {}                               // NOLINT
  Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}  // NOLINT

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() {
    if (!value_) std::abort();
    return *value_;
  }
  const T& operator*() const {
    if (!value_) std::abort();
    return *value_;
  }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }
  const Error& error() const {
    if (!error_) std::abort();
    return *error_;
  }

 private:
  std::optional<T> value_;
  std::unique_ptr<Error> error_;
};

struct Done {};  // Result<Done>: success says nothing more

}  // namespace banyan::shm
