#include "core/result.h"

#include <cstring>

#include "core/text.h"

namespace banyan {

std::string_view name_of(ErrorClass error_class) {
  static constexpr std::string_view kNames[kErrorClassCount] = {
      "unreachable", "auth",     "hostkey", "bootstrap", "timeout", "lost",     "refused",
      "resource",    "protocol", "io",      "stalled",   "dead",    "cancelled"};
  return kNames[static_cast<std::uint8_t>(error_class)];
}

std::string_view name_of(Phase phase) {
  static constexpr std::string_view kNames[kPhaseCount] = {"resolve", "connect", "kex",    "auth",    "shell",
                                                           "upload",  "hello",   "become", "command", "link"};
  return kNames[static_cast<std::uint8_t>(phase)];
}

std::string_view name_of(Started started) {
  static constexpr std::string_view kNames[] = {"no", "yes", "unknown"};
  return kNames[static_cast<std::uint8_t>(started)];
}

Error::Error() = default;
Error::Error(ErrorClass its_class, Phase its_phase, std::string_view its_text, std::string_view its_remedy)
    : error_class(its_class), phase(its_phase), text(its_text), remedy(its_remedy) {}
Error::Error(const Error& other) = default;
Error::Error(Error&& other) noexcept = default;
Error& Error::operator=(const Error& other) = default;
Error& Error::operator=(Error&& other) noexcept = default;
Error::~Error() = default;

Error system_error(ErrorClass error_class, Phase phase, std::string_view what, int error_number) {
  Error error(error_class, phase, cat(what, ": ", std::strerror(error_number)));
  error.system_error = error_number;
  return error;
}

}  // namespace banyan
