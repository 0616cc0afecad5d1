// transports/connector/library.h -- a session of libssh2: its memory, and the server's last words.
//
// While secrets are about, memory is wiped before it is given back:
// libssh2 copies what it sends, and frees the copies as they are. To wipe everything always would cost the
// bytes of a running command as much again as moving them.
#pragma once

#include <libssh2.h>

#include <string>

#include "transports/connector/key_request.h"

namespace banyan::connector {

constexpr std::size_t kEarlyRoundMax = 64 * 1024;

// What hangs on the session. Thread: that of the session.
struct Library {
  bool wipes = false;             // what is freed
  void* exchange = nullptr;       // of Interactive, while it has the session
  KeyRequest* request = nullptr;  // to be told what libssh2 allocates, while a key is tried
  // Bytes from the server, until the command runs: in all, and before others are served.
  bool is_early = true;
  std::size_t early_left = 0, round_left = 0;
  std::string farewell;  // what the server said when it hung up
};

// Null: no memory. `library` outlives it.
LIBSSH2_SESSION* new_session(Library& library);

}  // namespace banyan::connector
