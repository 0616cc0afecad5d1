#include "transports/openssh_log.h"

#include <algorithm>

#include "core/text.h"

namespace banyan {
namespace {

constexpr std::size_t kLineMax = 4 * 1024;  // beyond it is no line of ssh's

// Takes `front` off the front of `text`.
bool take(std::string_view& text, std::string_view front) {
  if (!text.starts_with(front)) return false;
  text.remove_prefix(front.size());
  return true;
}

// Takes the last word off.
std::string_view take_last_word(std::string_view& text) {
  const std::size_t space = text.rfind(' ');
  const std::string_view word = space == text.npos ? text : text.substr(space + 1);
  text = space == text.npos ? std::string_view() : text.substr(0, space);
  return word;
}

}  // namespace

std::string step_line(std::string_view text) {
  std::string line = cat(kStepMark, text.substr(0, kLineMax - kStepMark.size() - 1));
  std::ranges::replace(line, '\n', ' ');
  return line += '\n';
}

Phase OpensshProgress::phase() const {
  if (authenticated != 0 || is_shared) return Phase::kShell;
  if (keyed != 0) return Phase::kAuth;
  if (connected != 0) return Phase::kKex;
  return connecting != 0 || is_by_proxy ? Phase::kConnect : Phase::kResolve;
}

void OpensshLog::feed(std::string_view text, Nanos at) {
  begun_.append(text);
  std::size_t from = 0;
  for (std::size_t end; (end = begun_.find('\n', from)) != std::string::npos; from = end + 1) {
    std::string_view line = std::string_view(begun_).substr(from, end - from);
    if (line.ends_with('\r')) line.remove_suffix(1);
    on_line(line, at);
  }
  begun_.erase(0, from);
  if (begun_.size() > kLineMax) begun_.clear();
}

void OpensshLog::on_line(std::string_view line, Nanos at) {
  OpensshProgress& p = progress_;
  // Behind this the host itself speaks on the same pipe.
  if (p.authenticated != 0) return;
  const bool is_marked = take(line, kStepMark);
  if (take(line, "Authenticated to ")) {  // ssh's own has no mark
    p.authenticated = at;
    const std::size_t quote = line.find("using \"");
    if (quote == line.npos) return;
    line.remove_prefix(quote + 7);
    p.method = line.substr(0, line.find('"'));
    return;
  }
  if (!is_marked) return;
  if (take(line, "Connecting to ")) {  // host [address] port 22.
    if (p.connecting == 0) p.connecting = at;
    const std::size_t open = line.rfind('['), close = line.rfind(']');
    if (open < close && close != line.npos) p.address = line.substr(open + 1, close - open - 1);
  } else if (line.starts_with("Executing proxy command")) {
    p.is_by_proxy = true;
    p.connecting = at;
  } else if (line.starts_with("mux_client_request_session: master session id")) {
    p.is_shared = true;
  } else if (line.starts_with("Connection established")) {
    p.connected = at;
  } else if (take(line, "Remote protocol version ")) {
    if (p.connected == 0) p.connected = at;
    const std::size_t software = line.find("remote software version ");
    if (software != line.npos) p.server = line.substr(software + 24);
  } else if (take(line, "Server host key: ")) {
    p.host_key_fingerprint = take_last_word(line);
    p.host_key_type = line;
  } else if (line.starts_with("SSH2_MSG_NEWKEYS received")) {
    if (p.keyed == 0) p.keyed = at;
  } else if (take(line, "Offering public key: ")) {
    if (p.offered.size() < OpensshProgress::kOfferedMax) p.offered.emplace_back(line);
  } else if (take(line, "Authentications that can continue: ")) {
    p.methods_left = line;
  } else if (take(line, "Server accepts key: ")) {
    std::string_view word = take_last_word(line);
    while (word == "explicit" || word == "agent" || word == "token" || word == "authenticator")
      word = take_last_word(line);
    p.key_fingerprint = word;
    p.key_type = take_last_word(line);
    p.key = line;
  }
}

}  // namespace banyan
