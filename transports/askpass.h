// transports/askpass.h -- the questions of the system's ssh, answered by the root.
//
// ssh asks by running the program that SSH_ASKPASS names. We name ourselves: that process
// (ask_through_socket()) hands the question to the root through a private socket, and prints the answer for
// ssh to read. The socket has an abstract name with 64 random bits in it; who comes there must be of our user
// and descend from an ssh that we started, which also tells for which host it asks. So no secret is in an
// environment or a file.
//
// Whether a host's key is to be believed cannot be answered this way. Thread: the loop's. Lifetime: outlives
// the carriers of its sources.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "parent/recipe.h"
#include "transports/secrets.h"

namespace banyan {

class Askpass {
 public:
  // `program`: what ssh is to run: ourselves. `on_notice`: ssh has something to say to the person while it
  // waits ("touch the security key").
  Askpass(Loop& loop, Secrets& secrets, std::string program, std::function<void(std::string)> on_notice);
  Askpass(const Askpass&) = delete;
  Askpass& operator=(const Askpass&) = delete;
  ~Askpass();

  const std::string& program() const { return program_; }
  // Makes the ssh of this recipe ask through us.
  void serve(Recipe& recipe, Secrets::LoginId login);

 private:
  class Ssh;
  class Source;
  class Client;
  Result<Done> listen();
  void on_client();
  std::vector<std::pair<std::string, std::string>> environment() const;

  Loop& loop_;
  Secrets& secrets_;
  const std::string program_;
  const std::function<void(std::string)> on_notice_;
  std::string name_;
  Fd socket_;
  Loop::WatchId watch_ = 0;
  std::map<pid_t, Ssh*> running_;
  bool said_stranger_ = false;
};

// The name of the socket is in this variable of the process that ssh starts.
constexpr const char* kAskpassVariable = "BANYAN_ASKPASS";

// That process: asks, writes the answer to standard output. The exit code.
int ask_through_socket(std::string_view socket, std::string_view question);

}  // namespace banyan
