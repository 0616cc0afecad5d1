#include "transports/openssh_version.h"

#include <charconv>
#include <cstdio>
#include <utility>

namespace banyan {

std::string openssh_version() {
  std::FILE* pipe = ::popen("exec ssh -V 2>&1 </dev/null", "re");
  if (pipe == nullptr) return {};
  char text[256];  // one line
  const std::size_t bytes = std::fread(text, 1, sizeof text, pipe);
  ::pclose(pipe);
  return std::string(text, bytes);
}

bool knows_session_type(std::string_view version) {
  constexpr std::string_view kName = "OpenSSH_";
  const std::size_t at = version.find(kName);
  if (at == std::string_view::npos) return false;
  const char* const end = version.data() + version.size();
  const char* digits = version.data() + at + kName.size();
  while (digits != end && (*digits < '0' || *digits > '9')) ++digits;  // "OpenSSH_for_Windows_9.5p1"
  int major = 0, minor = 0;
  const auto [dot, error] = std::from_chars(digits, end, major);
  if (error != std::errc() || dot == end || *dot != '.') return false;
  if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return false;
  return std::pair(major, minor) >= std::pair(8, 7);
}

}  // namespace banyan
