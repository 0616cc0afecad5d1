// parent/transport_terminal.h -- a terminal for a transport that asks its question there: su and doas, which
// know no other way.
//
// Only the question is asked there; the link stays on its socket. A question is known by its being typed
// unseen: whoever wants a password switches the echo off, whatever his language; what is merely printed is
// none. The terminal is drained as long as the transport lives, so that nobody waits for room in it, and it
// must not be hung up before.
//
// A new session has no terminal, and the first that its leader opens is its controlling one. So a shell is
// started in the transport's place, opens it, and becomes the transport (argv_on_terminal()). Our own program
// could do that too, where there is a /proc to find it in.
//
// Thread: the loop's. Lifetime: the loop and the answerer outlive it, the latter until mute().
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/alive.h"
#include "core/fd.h"
#include "core/loop.h"
#include "parent/back_channel.h"

namespace banyan {

class TransportTerminal {
 public:
  // Told when a question is open, and when none is any more.
  using OnAsks = Function<void(bool)>;

  static Result<std::unique_ptr<TransportTerminal>> open(Loop& loop, Answerer* answerer, OnAsks on_asks);
  TransportTerminal(const TransportTerminal&) = delete;
  TransportTerminal& operator=(const TransportTerminal&) = delete;
  ~TransportTerminal();

  const std::string& path() const { return path_; }
  // Something has been said elsewhere: perhaps that was the prompt.
  void look();
  // From now on nobody is answered.
  void mute();
  // The same, and whoever sits before it is told to go.
  void hang_up();

 private:
  TransportTerminal(Loop& loop, Answerer* answerer, OnAsks on_asks)
      : loop_(loop), answerer_(answerer), on_asks_(std::move(on_asks)) {}
  void on_ready();
  bool is_unseen() const;
  void on_answer(Bytes answer);

  Loop& loop_;
  Answerer* answerer_;  // null: nobody answers
  OnAsks on_asks_;
  Fd ours_, theirs_;  // theirs: or it would be hung up while nobody has it open
  Loop::WatchId watch_ = 0;
  std::string path_, text_;
  bool was_unseen_ = false, waits_ = false;
  Alive alive_;
};

constexpr int kLinkDescriptor = 3;  // where the terminal is standard input

// What starts `argv` on the terminal `path`, in a new session. `is_input`: it is standard input as well, and
// what was that is kLinkDescriptor.
std::vector<std::string> argv_on_terminal(std::vector<std::string> argv, std::string_view path,
                                          bool is_input);

}  // namespace banyan
