// core/result.h -- Result<T>: a value, or an Error that names class, phase and context.
//
// For the world's faults only (a full disk, a dead host). Both words of an Error are those of the command
// line's --json output (docs/cli.md), so an error reads the same three hops away.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/assert.h"

namespace banyan {

using ContextId = std::uint32_t;  // 0 is the root; never reused while that root lives

// What kind of failure; decides the exit code and whether a retry can help.
enum class ErrorClass : std::uint8_t {
  kUnreachable,
  kAuth,
  kHostKey,
  kBootstrap,
  kTimeout,
  kLost,
  kRefused,
  kResource,
  kProtocol,
  kIo,
  kStalled,
  kDead,
  kCancelled,
};
constexpr std::uint8_t kErrorClassCount = 13;

// Where on the way it happened. A deadline belongs to each.
enum class Phase : std::uint8_t {
  kResolve,
  kConnect,
  kKex,
  kAuth,
  kShell,
  kUpload,
  kHello,
  kBecome,
  kCommand,
  kLink,
};
constexpr std::uint8_t kPhaseCount = 10;

// Had the work begun? Only kNo may be retried without asking.
enum class Started : std::uint8_t { kNo, kYes, kUnknown };

std::string_view name_of(ErrorClass error_class);
std::string_view name_of(Phase phase);
std::string_view name_of(Started started);

// Made, copied and destroyed in many places, so out of line.
struct Error {
  Error();
  Error(ErrorClass error_class, Phase phase, std::string_view text, std::string_view remedy = {});
  Error(const Error& other);
  Error(Error&& other) noexcept;
  Error& operator=(const Error& other);
  Error& operator=(Error&& other) noexcept;
  ~Error();

  ErrorClass error_class = ErrorClass::kIo;
  Phase phase = Phase::kLink;
  std::string text;    // one sentence, no trailing full stop
  std::string remedy;  // what the reader can do; may be empty
  Started started = Started::kNo;
  bool wrong_guess = false;  // what was remembered of the host is not so; nothing else is known to be wrong
  bool detached = false;     // no failure: a context that left the tree and lives on (parent/detach.h)
  ContextId context = 0;     // where it began
  int system_error = 0;      // errno, or 0
};

// An Error for a failed system call: "open /tmp/x: Permission denied".
Error system_error(ErrorClass error_class, Phase phase, std::string_view what, int error_number);

// Holds a T or an Error. Reading the wrong one is our own fault, and asserts.
template <class T>
class [[nodiscard]] Result {
 public:
  // Implicit, so that `return value;` and `return Error{...};` work.
  Result(const T& value) : value_(value) {}            // NOLINT
  Result(T&& value) : value_(std::move(value)) {}      // NOLINT
  Result(const Error& error) : error_(error) {}        // NOLINT
  Result(Error&& error) : error_(std::move(error)) {}  // NOLINT

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() {
    ASSERT(value_);
    return *value_;
  }
  const T& operator*() const {
    ASSERT(value_);
    return *value_;
  }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }
  const Error& error() const {
    ASSERT(!value_);
    return error_;
  }

 private:
  std::optional<T> value_;
  Error error_;
};

struct Done {};  // Result<Done>: success says nothing more

}  // namespace banyan
