// transports/connector/way.h -- an ssh session and those that it goes through: from us to a first hop, from
// there through a tunnel to the next, and so on to the host where the command runs.
//
// Each session of the way is one of its own: its keys, its host key, its login. Those of hops end in a tunnel
// (direct-tcpip) in place of a command; it is pumped to a pair of sockets, over which the next session runs
// as over any other. So a session that is not read leaves what is behind it with the server, hop by hop.
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "transports/connector/session.h"

namespace banyan::connector {

class Way final : private Session::Owner {
 public:
  // As Session::Owner.
  class Owner {
   public:
    virtual void on_phase(Way& way, Phase phase) = 0;
    virtual void on_text(Way& way, std::string_view text) = 0;
    virtual void on_question(Way& way, SessionQuestion question) = 0;
    virtual void on_refused(Way& way) = 0;
    // Once. It is over; destroy it, but not from inside this call.
    virtual void on_end(Way& way, SessionEnd end) = 0;

   protected:
    ~Owner() = default;
  };

  // `channel` is the socket whose other end the root reads and writes.
  Way(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner);
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;
  ~Way();

  SessionId id() const { return order_.id; }
  // Sessions that it consists of.
  std::size_t length() const { return hops().size() + 1; }
  void start();
  void answer(SessionAnswer answer);

 private:
  const std::vector<SessionSettings>& hops() const { return order_.settings.hops; }
  bool is_last(const Session& session) const;
  void start_next(Fd through);
  Error named(const Session& session, Error error) const;
  void finish(SessionEnd end);
  void on_phase(Session& session, Phase phase) override;
  void on_text(Session& session, std::string_view text) override;
  void on_question(Session& session, SessionQuestion question) override;
  void on_refused(Session& session) override;
  void on_open(Session& session) override;
  void on_end(Session& session, SessionEnd end) override;

  Loop& loop_;
  Resolver& resolver_;
  KeyRing& ring_;
  const SessionOrder order_;
  Owner& owner_;
  Fd channel_;                                      // to the root, until the last session has it
  Fd next_socket_;                                  // the near end of the tunnel that is being opened
  std::vector<std::unique_ptr<Session>> sessions_;  // begun, from us to the host
  std::optional<Error> broken_;                     // why a hop ended under those behind it
  bool over_ = false;
};

}  // namespace banyan::connector
