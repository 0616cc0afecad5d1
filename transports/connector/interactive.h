// transports/connector/interactive.h -- one keyboard-interactive exchange with a server.
//
// libssh2 wants the answers from within a callback, which would hold up every other session for as long as a
// person thinks. So a thread has the LIBSSH2_SESSION from the beginning of this to its end, and nobody else
// touches it meanwhile. Thread: the loop's. The socket outlives this, and so does the session, which is one
// of new_session(); destroyed while it runs, it shuts the socket down, and is back at once.
#pragma once

#include <libssh2.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/loop.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

class Interactive {
 public:
  // `on_questions`: name, instruction and items are the server's; answer() them. `on_end` once, with
  // libssh2's code: then the session is free again. Neither from within a call of ours.
  using OnQuestions = Function<void(SessionQuestion)>;
  using OnEnd = Function<void(int code)>;
  Interactive(Loop& loop, LIBSSH2_SESSION* session, int socket, std::string user, OnQuestions on_questions,
              OnEnd on_end);
  Interactive(const Interactive&) = delete;
  Interactive& operator=(const Interactive&) = delete;
  ~Interactive();

  // It could not be started: neither is ever called.
  const std::optional<Error>& error() const { return error_; }
  void answer(std::vector<Secret> secrets);

 private:
  struct Shared;
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
  std::optional<Error> error_;
};

}  // namespace banyan::connector
