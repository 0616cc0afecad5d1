// transports/connector/carrier.h -- bytes between a command over there and the root, both ways, until either
// ends.
//
// Holds at most a piece each way, and only what the other side would not take yet: a root that does not read
// leaves the rest with the server, by the window. Thread: the loop's. All that is given outlives it.
#pragma once

#include <libssh2.h>

#include <optional>
#include <string_view>

#include "core/alive.h"
#include "core/bytes.h"
#include "core/loop.h"

namespace banyan::connector {

class Carrier {
 public:
  class Owner {
   public:
    // The command's standard error, as far as anybody wants it.
    virtual void on_stderr(std::string_view text) = 0;
    // There may be more to carry: round().
    virtual void on_carrier_ready() = 0;

   protected:
    ~Owner() = default;
  };

  // `remote` was opened with kFirstWindow, and is to have `window`. `channel` is the socket whose other end
  // the root reads and writes.
  Carrier(Loop& loop, LIBSSH2_SESSION* session, LIBSSH2_CHANNEL* remote, std::uint32_t window, int channel,
          Owner& owner);
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;
  ~Carrier();

  enum class Outcome : std::uint8_t {
    kWait,
    kEnded,  // exit_code() says how
    kRootHasGone,
    kReadFailed,  // libssh2 knows why
    kWriteFailed,
    kUnknownStream,  // the server sends what is neither output nor error output
  };
  // Carries what there is, but not for ever: others are served as well.
  Outcome round();
  // Nothing: by a signal.
  std::optional<std::uint8_t> exit_code() const;

  // While the root does not take what we have, or a packet is half sent, the server is not listened to.
  bool listens() const { return to_root_.empty() && half_sent_ == HalfSent::kNothing; }
  // Nothing is watched any more.
  void stop();

 private:
  std::optional<Outcome> carry_in();   // from the host to the root; nothing: it goes on
  std::optional<Outcome> carry_out();  // from the root to the host
  // What sends. Nothing: it goes on, or will when half_sent_ is gone.
  std::optional<Outcome> send_rest();
  std::optional<Outcome> give_credit();
  std::optional<Outcome> put_to_host();
  void put_end();
  enum class HalfSent : std::uint8_t { kNothing, kData, kCredit, kEnd };
  bool is_sent(ssize_t code, HalfSent what);
  ssize_t read_some(int stream, char* to, std::size_t bytes);
  // What of these bytes the root did not take. Nothing: it has gone.
  std::optional<std::size_t> put_to_root(const std::uint8_t* from, std::size_t bytes);
  bool look_for_more();
  void read_stderr();
  void again_soon();
  void watch();

  Loop& loop_;
  LIBSSH2_SESSION* const session_;
  LIBSSH2_CHANNEL* const remote_;
  const std::uint32_t window_;  // what the server may send that we have not read
  const int channel_;
  Owner& owner_;
  Loop::WatchId watch_ = 0;
  Buffer to_root_, to_host_;  // each at most kCarryMax; the latter is as long, and holds bytes from at to end
  std::size_t to_root_at_ = 0, to_host_at_ = 0, to_host_end_ = 0;
  bool root_ended_ = false, root_told_ = false, host_ended_ = false, eof_sent_ = false;
  bool is_end_hidden_ = false;  // in this round: the host's output ended, but something unread lies before
  std::optional<unsigned long> unread_;  // at the last look for more, if there was and nothing was read since
  HalfSent half_sent_ = HalfSent::kNothing;
  std::uint32_t credit_ = 0;  // that we are about to give
  std::size_t text_left_;
  Alive alive_;
};

}  // namespace banyan::connector
