// transports/connector/dial.h -- a connection to the first of a host's addresses that answers.
//
// An address that is silent has the next one tried in its place after a while. Thread: the loop's. What it is
// given outlives it.
#pragma once

#include <string>
#include <vector>

#include "core/fd.h"
#include "core/loop.h"
#include "transports/connector/resolver.h"

namespace banyan::connector {

class Dial {
 public:
  // How far it has come, in ssh's words; and once how it ended: a connected socket, to be closed by its loop.
  using OnStep = Function<void(std::string_view)>;
  using OnDone = Function<void(Result<Fd>)>;
  Dial(Loop& loop, const SessionSettings& settings, OnStep on_step, OnDone on_done);
  Dial(const Dial&) = delete;
  Dial& operator=(const Dial&) = delete;
  ~Dial() { stop(); }

  // Once; may be done before it returns.
  void start(std::vector<Address> addresses);
  void stop();

  // The one tried last; empty: none was.
  const std::string& address() const { return address_; }

 private:
  void connect_next();
  void on_connected();
  bool bind(const Address& address);  // false: errno says why
  void fail(int error, ErrorClass error_class);
  void fail(Error failure);

  Loop& loop_;
  const SessionSettings& settings_;
  OnStep on_step_;
  OnDone on_done_;
  std::vector<Address> addresses_;  // not tried yet, in reverse
  std::string address_;
  Fd socket_;
  Loop::WatchId watch_ = 0;
  Loop::TimerId next_ = 0;
};

}  // namespace banyan::connector
