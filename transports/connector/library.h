// transports/connector/library.h -- a session of libssh2: its memory, and the server's last words.
//
// While secrets are about, memory is wiped before it is given back:
// libssh2 copies what it sends, and frees the copies as they are. To wipe everything always would cost the
// bytes of a running command as much again as moving them.
#pragma once

#include <libssh2.h>

#include <cstdint>
#include <optional>
#include <string>

#include "transports/connector/key_request.h"

namespace banyan::connector {

// Bytes from the server before others are served. Within a round libssh2 takes all there is, packets that
// nobody asked for among it.
constexpr std::size_t kEarlyRoundMax = 64 * 1024;    // until the command runs: it says little
constexpr std::size_t kCarryRoundMax = 1024 * 1024;  // as much as is carried on in a round
// What libssh2 may hold for a session. It keeps what came and was not read, which the window bounds, and
// packets of kinds that it does not know, which nothing bounds. A packet costs it a hundred bytes besides:
// with a message of the smallest kind in each a full window costs three times its bytes.
constexpr std::size_t kHeldPerWindow = 3;
constexpr std::size_t kHeldBesidesMax = 4 * 1024 * 1024;  // a round of small packets, and what it works with

// The server's no to a request to log in.
struct Refusal {
  std::string methods;      // that can continue, with commas between
  bool is_partial = false;  // the request was right, and one of another kind has to follow
};

// What hangs on the session. Thread: that of the session.
struct Library {
  bool wipes = false;             // what is freed
  void* exchange = nullptr;       // of Interactive, while it has the session
  bool asks_too_much = false;     // the server, in that exchange: the connection was ended for it
  KeyRequest* request = nullptr;  // to be told what libssh2 allocates, while a key is tried
  // Bytes from the server: until the command runs in all, and always before others are served.
  bool is_early = true;
  std::size_t early_left = 0, round_left = 0;
  // Bytes of memory. Once there were more than the most, nothing more is taken from the server.
  std::size_t held = 0, held_max = SIZE_MAX;
  bool is_overfull = false;
  std::string farewell;  // what the server said when it hung up
  // While logging in: the last one. libssh2 gives its packet back unread.
  bool notes_refusals = false;
  std::optional<Refusal> refusal;
};

// Null: no memory. `library` outlives it.
LIBSSH2_SESSION* new_session(Library& library);

}  // namespace banyan::connector
