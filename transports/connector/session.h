// transports/connector/session.h -- one ssh session: from a name to a running command, then bytes both ways.
//
//   resolve  connect  kex (and the host's key)  auth  shell (channel, command)  carry
//
// One of a way with several (transports/connector/way.h) may begin with a tunnel in place of a connection,
// and end with one in place of a command.
//
// Each step asks libssh2 until it would block, then waits for the socket. What libssh2 would do itself and
// block for (names, files of known hosts, key agents) is done around it. Thread: the loop's.
#pragma once

#include <libssh2.h>

#include <memory>
#include <optional>
#include <string>

#include "core/alive.h"
#include "core/fd.h"
#include "core/loop.h"
#include "transports/connector/carrier.h"
#include "transports/connector/dial.h"
#include "transports/connector/host_keys.h"
#include "transports/connector/login.h"
#include "transports/connector/remote_command.h"
#include "transports/connector/remote_tunnel.h"
#include "transports/connector/resolver.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

// A session's place on a way.
struct Leg {
  Fd through = {};                    // what it runs over; none: a connection that it makes
  std::string through_name = {};      // of the hop that leads to it, for people
  std::optional<Onward> onward = {};  // where its tunnel leads; none: it runs the order's command
};

class Session final : private Login::Owner, private Carrier::Owner {
 public:
  class Owner {
   public:
    virtual void on_phase(Session& session, Phase phase) = 0;
    virtual void on_text(Session& session, std::string_view text) = 0;
    // To be answered by answer(), later; and the server did not take it.
    virtual void on_question(Session& session, SessionQuestion question) = 0;
    virtual void on_refused(Session& session) = 0;
    // The tunnel of one that leads onward is open. Called from within its work.
    virtual void on_open(Session&) {}
    // Once. The session is over; destroy it, but not from inside this call.
    virtual void on_end(Session& session, SessionEnd end) = 0;

   protected:
    ~Owner() = default;
  };

  // `channel` is the socket whose other end the root, or the next session, reads and writes.
  Session(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner,
          Leg leg = Leg());
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  SessionId id() const { return order_.id; }
  void start();
  void answer(SessionAnswer answer);

 private:
  enum class Step : std::uint8_t {
    kResolve,
    kConnect,
    kHandshake,
    kKeepHostKey,
    kIdentities,
    kAuthenticate,
    kOpenTunnel,
    kStartCommand,
    kCarry,
    kOver,
  };
  // What a step did.
  enum class Progress : std::uint8_t { kDone, kWait, kOver };

  void enter(Step step);
  void run();  // steps until one has to wait
  Progress run_step();

  void on_connected(Result<Fd> socket);
  void tell(std::string_view step);  // for whoever wants to know how far it came
  void tell_server();
  Progress handshake();
  Progress check_host_key();
  Progress keep_host_key();
  void begin_login();
  Progress authenticate();
  void on_question(SessionQuestion question) override;
  void on_refused() override { owner_.on_refused(*this); }
  void on_step(std::string_view step) override { tell(step); }
  void on_login_ready() override;
  bool is_elsewhere() const;
  bool server_has_gone();
  void fail_left_alone();
  Progress open_tunnel();
  Progress start_command();
  void begin_to_carry(LIBSSH2_CHANNEL* channel, std::uint32_t window);
  Progress carry();
  void on_stderr(std::string_view text) override { owner_.on_text(*this, text); }
  void on_carrier_ready() override;

  void watch_socket();
  void fail(ErrorClass error_class, const std::string& text, std::string_view remedy = {});
  void fail_by_library(std::string_view what);
  void end(std::optional<Error> error, std::optional<std::uint8_t> exit_code = {});
  Phase phase() const;
  const std::string& address() const { return is_through_ ? order_.settings.host : dial_.address(); }

  Loop& loop_;
  Resolver& resolver_;
  KeyRing& ring_;
  const SessionOrder order_;
  Owner& owner_;
  Leg leg_;
  const bool is_through_;  // a tunnel
  Fd channel_;             // to the root, or the next session
  Step step_ = Step::kResolve;

  Dial dial_;
  Fd socket_;
  Loop::WatchId socket_watch_ = 0;
  Loop::TimerId next_lock_try_ = 0;
  int lock_tries_ = 0;

  HostKeys host_keys_;
  Library library_;
  LIBSSH2_SESSION* session_ = nullptr;
  std::unique_ptr<Login> login_;
  bool server_has_spoken_ = false, server_is_told_ = false;
  bool server_speaks_ = false;  // while we are elsewhere: that is for later

  std::optional<RemoteTunnel> tunnel_;
  std::optional<RemoteCommand> command_;
  std::optional<Carrier> carrier_;
  Alive alive_;
};

}  // namespace banyan::connector
