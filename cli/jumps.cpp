#include "cli/jumps.h"

#include <arpa/inet.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cli/printable.h"
#include "cli/targets.h"
#include "core/text.h"
#include "transports/ssh_settings.h"

namespace banyan::cli {
namespace {

// As ssh does, in any letters.
bool is_none(std::string_view text) {
  constexpr std::string_view kNone = "none";
  return std::ranges::equal(text, kNone, [](char a, char b) { return (a | 0x20) == b; });
}

constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw UsageError(cat("-J '", printable(text.substr(0, kTargetNameMax)), "': ", why));
}

bool is_address(const std::string& text) {
  in6_addr ignored;
  // It reads no further than a zero.
  return text.find('\0') == text.npos && ::inet_pton(AF_INET6, text.c_str(), &ignored) == 1;
}

void check(std::string_view written, const SshJump& jump) {
  if (written.find('@') != written.npos) check_user(jump.user);
  if (jump.host.find(':') != jump.host.npos) {
    // ssh reads a percent sign in the line that it makes for a jump, so an address with a zone is lost there.
    if (!is_address(jump.host)) refuse(written, "in brackets stands an IPv6 address, without a zone");
    return;
  }
  if (jump.host.size() > kTargetNameMax) refuse(written, cat("longer than ", kTargetNameMax, " characters"));
  if (jump.host.front() == '-' || jump.host.find_first_not_of(kPlain) != jump.host.npos)
    refuse(written, "a host is made of letters, digits and . _ -, and does not begin with '-'");
}

}  // namespace

std::string check_jumps(std::string_view text) {
  if (is_none(text)) return "none";
  std::string list;
  std::size_t count = 0;
  for (std::string_view rest = text;;) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view written = rest.substr(0, end);
    if (written.empty()) refuse(text, "an empty name: write user@host:port, with commas between them");
    const std::optional<std::vector<SshJump>> jump = parse_proxy_jump(written);
    if (!jump || jump->size() != 1)
      refuse(written, "write user@host:port, or [::1]:port for an IPv6 address");
    check(written, jump->front());
    // At the head of a list ssh takes it for a host, and the ssh of the next jump does not.
    if (is_none(written)) refuse(text, "'none' stands alone");
    if (++count > kSshJumpsMax) refuse(text, cat("more than ", kSshJumpsMax, " hosts"));
    list += cat(list.empty() ? "" : ",", text_of(jump->front()));
    if (end == rest.size()) return list;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace banyan::cli
