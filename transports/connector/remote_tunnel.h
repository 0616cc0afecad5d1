// transports/connector/remote_tunnel.h -- a connection that a server makes for us to the next host of a way.
//
// Asks libssh2 until it would block. Thread: the loop's. All that is given outlives it.
#pragma once

#include <libssh2.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/loop.h"
#include "core/result.h"
#include "transports/connector/library.h"

namespace banyan::connector {

// As the server is to look it up.
struct Onward {
  std::string host;
  std::uint16_t port = 0;
};

class RemoteTunnel {
 public:
  // `window_max`: what the server may send that we have not read.
  RemoteTunnel(Loop& loop, LIBSSH2_SESSION* session, const Onward& onward, std::uint32_t window_max);
  RemoteTunnel(const RemoteTunnel&) = delete;
  RemoteTunnel& operator=(const RemoteTunnel&) = delete;
  ~RemoteTunnel();  // the channel with it

  enum class Progress : std::uint8_t { kWait, kOpen, kFailed };
  // Until it is open. kFailed: error() says why.
  Progress start();
  // `server`: the address of the one that was asked.
  Error error(const Library& library, std::string_view server) const;

  // Once it is open.
  LIBSSH2_CHANNEL* channel() const { return channel_; }
  std::uint32_t window() const { return window_; }

 private:
  Loop& loop_;
  LIBSSH2_SESSION* const session_;
  const Onward onward_;
  const std::uint32_t window_max_;
  Buffer request_;  // what is asked for; libssh2 reads it for as long as it sends
  LIBSSH2_CHANNEL* channel_ = nullptr;
  std::optional<Nanos> asked_;
  std::uint32_t window_ = 0;
};

}  // namespace banyan::connector
