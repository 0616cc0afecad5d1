// core/served_calls.h -- the calls this context is serving: each runs at most once, and a cancel is
// acknowledged only after the outcome.
//
// A cancel travels twice. As control it comes soon, even while the callee takes no data, and perhaps before
// the call itself; as a message on the call's own stream it comes after the call, whatever happens. So the
// first one acts, or is remembered for a call that is still on its way; the second one decides what there is
// to acknowledge.
//
// Thread: the loop's. Part of the Router.
#pragma once

#include <cstdint>

#include "core/frame.h"
#include "core/function.h"
#include "core/table.h"

namespace banyan {

class ServedCalls {
 public:
  enum class Verdict : std::uint8_t {
    kBegins,
    kTwice,      // it is being served: the same call again
    kFull,       // total, or what one link may have
    kCancelled,  // before it came
  };

  explicit ServedCalls(std::uint32_t max) : max_(max) {}
  void set_max(std::uint32_t max) { max_ = max; }

  // A call has come in on `link`. A quarter of all may come from one link.
  Verdict begin(std::uint32_t link, const Header& call);
  bool serves(const Header& call) const { return calls_.contains(key_of(call.source, call.reply_to)); }
  // What to do when it is cancelled, or its caller is gone; at most once. Nothing, if it is not being served:
  // a message without a reply_to is no call.
  void on_cancel(const Header& call, Function<void()> act);
  // The outcome is on its way: where to acknowledge a cancel now; kNoReply: nowhere.
  Handle finish(const Header& call);
  // The control frame.
  void cancel(std::uint32_t link, ContextId source, Handle call);
  // The message. True: to be acknowledged at once, the outcome went before. Else finish() will tell.
  bool cancel_in_order(ContextId source, Handle call, Handle acknowledge_to);
  // These callers are gone: their calls are cancelled and forgotten.
  void forget(const Function<bool(ContextId)>& is_gone);
  // These callers are about to be gone, and what is done for them goes on: nobody ends it in their name.
  void disown(const Function<bool(ContextId)>& is_gone);
  void forget_link(std::uint32_t link) { shares_.erase(link); }

  std::size_t size() const { return calls_.size(); }
  std::size_t cancelled_early() const { return early_.size(); }

 private:
  friend struct Inspector;  // of tests/simulation
  struct Key {
    ContextId source;
    std::uint32_t none;
    Handle reply_to;
  };
  struct Call {
    std::uint32_t link = 0;
    Handle acknowledge_to = kNoReply;
    Function<void()> act;
  };
  static Key key_of(ContextId source, Handle reply_to) { return {source, 0, reply_to}; }
  void erase(Table<Key, Call>::Iterator call);
  void erase_early(Table<Key, std::uint32_t>::Iterator early);

  std::uint32_t max_;
  Table<Key, Call> calls_;
  struct Share {
    std::uint32_t calls = 0, early = 0;
  };
  Table<std::uint32_t, Share> shares_;  // of each link
  // Cancels that came before their calls; each goes with the message that follows it. Beyond the limit of a
  // link they are not remembered, and the message does it all.
  Table<Key, std::uint32_t> early_;  // the link
};

}  // namespace banyan
