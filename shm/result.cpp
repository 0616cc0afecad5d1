#include "shm/result.h"

#include <cstring>
#include <iterator>

namespace banyan::shm {

std::string_view name_of(ErrorKind kind) {
  static constexpr std::string_view kNames[] = {
      "bad name",  "bad token", "mismatch",     "not found",   "exists",   "gone",   "ended",   "owner died",
      "read only", "full",      "out of range", "not allowed", "lost",     "fields", "corrupt", "unsafe",
      "busy",      "timeout",   "cancelled",    "too long",    "no space", "system"};
  static_assert(std::size(kNames) == std::size_t(ErrorKind::kSystem) + 1);
  return kNames[std::size_t(kind)];
}

Error system_error(std::string_view what, int error_number, ErrorKind kind) {
  return {kind, std::string(what) + ": " + std::strerror(error_number), error_number};
}

}  // namespace banyan::shm
