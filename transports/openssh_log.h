// transports/openssh_log.h -- how far ssh has come, by what it says of itself with LogLevel DEBUG1.
//
// ssh is one process from the name to the shell, and opaque but for that. Its words are nobody's contract:
// what is not recognised is passed over, so that with another ssh less is known, and nothing wrong. A
// connector that is told to (SessionSettings::tells_steps) says its steps in the same words. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/loop.h"
#include "core/result.h"

namespace banyan {

// So begins what is said of a step and is no complaint.
constexpr std::string_view kStepMark = "debug1: ";
// A whole line of that kind. One line, whatever is in the text: some of it a stranger chose.
std::string step_line(std::string_view text);

struct OpensshProgress {
  Nanos connecting = 0, connected = 0, keyed = 0, authenticated = 0;  // since when; 0: not, or it did not say
  bool is_shared = false;    // a connection that was there before carries it
  bool is_by_proxy = false;  // ProxyCommand or ProxyJump carries it
  std::string address;       // the one tried last
  std::string server;        // what it calls itself: "OpenSSH_9.2p1"
  std::string host_key_type, host_key_fingerprint;
  std::string method;                             // "publickey", once it has led in
  std::string key, key_type, key_fingerprint;     // that the server accepts; key: a file, or its comment
  std::vector<std::string> offered;               // keys, as ssh shows them; at most kOfferedMax
  std::string methods_left;                       // "publickey,password", when the server has refused
  static constexpr std::size_t kOfferedMax = 16;  // servers take six; the rest tells nobody anything

  // What it was about when nothing more was heard.
  Phase phase() const;
};

class OpensshLog {
 public:
  // What ssh printed on standard error, in any split, and when.
  void feed(std::string_view text, Nanos at);
  const OpensshProgress& progress() const { return progress_; }

 private:
  void on_line(std::string_view line, Nanos at);
  OpensshProgress progress_;
  std::string begun_;  // a line that has no end yet
};

}  // namespace banyan
