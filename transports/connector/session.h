// transports/connector/session.h -- one ssh session: from a name to a running command, then bytes both ways.
//
//   resolve  connect  kex (and the host's key)  auth  shell (channel, command)  carry
//
// Each step asks libssh2 until it would block, then waits for the socket. What libssh2 would do itself and
// block for (names, files of known hosts, key agents) is done around it. Thread: the loop's.
#pragma once

#include <libssh2.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/alive.h"
#include "core/fd.h"
#include "core/loop.h"
#include "transports/connector/known_hosts.h"
#include "transports/connector/login.h"
#include "transports/connector/resolver.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

class Session final : private Login::Owner {
 public:
  class Owner {
   public:
    virtual void on_phase(Session& session, Phase phase) = 0;
    virtual void on_text(Session& session, std::string_view text) = 0;
    // To be answered by answer(), later; and the server did not take it.
    virtual void on_question(Session& session, SessionQuestion question) = 0;
    virtual void on_refused(Session& session) = 0;
    // Once. The session is over; destroy it, but not from inside this call.
    virtual void on_end(Session& session, SessionEnd end) = 0;

   protected:
    ~Owner() = default;
  };

  // `channel` is the socket whose other end the root reads and writes.
  Session(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner);
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
    kOpenChannel,
    kSetEnvironment,
    kExecute,
    kCarry,
    kOver,
  };
  // What a step did.
  enum class Progress : std::uint8_t { kDone, kWait, kOver };

  void enter(Step step);
  void run();  // steps until one has to wait
  Progress run_step();

  void connect_next();
  void on_connected();
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
  Progress open_channel();
  Progress set_environment();
  Progress execute();

  Progress carry();
  bool carry_in();   // from the host to the root; false: over
  bool carry_out();  // from the root to the host; false: over
  bool look_for_more();
  void read_stderr();
  std::optional<std::uint8_t> exit_code() const;

  void again_soon();

  void watch_socket();
  void watch_channel();
  void fail(ErrorClass error_class, const std::string& text, std::string_view remedy = {});
  void fail_by_library(std::string_view what);
  void end(std::optional<Error> error, std::optional<std::uint8_t> exit_code = {});
  Phase phase() const;

  Loop& loop_;
  Resolver& resolver_;
  KeyRing& ring_;
  const SessionOrder order_;
  Owner& owner_;
  Fd channel_;  // to the root
  Loop::WatchId channel_watch_ = 0;
  Step step_ = Step::kResolve;

  std::vector<Address> addresses_;  // not tried yet, in reverse
  std::string last_address_;        // the one tried last
  Fd socket_;
  Loop::WatchId socket_watch_ = 0;
  Loop::TimerId next_address_ = 0;
  Loop::TimerId next_lock_try_ = 0;
  int lock_tries_ = 0;

  KnownHosts known_;  // until the host's key has been checked
  Library library_;
  LIBSSH2_SESSION* session_ = nullptr;
  LIBSSH2_CHANNEL* remote_ = nullptr;
  std::size_t variables_set_ = 0;
  std::unique_ptr<Login> login_;
  bool server_has_spoken_ = false, server_is_told_ = false;
  bool server_speaks_ = false;  // while we are elsewhere: that is for later

  Buffer to_root_, to_host_;  // each at most kCarryMax, and only what the other side would not take yet
  std::size_t to_root_at_ = 0, to_host_at_ = 0;
  bool root_ended_ = false, root_told_ = false, host_ended_ = false, eof_sent_ = false;
  // Of this round: the host's output came; it ended, but something unread lies before the end.
  bool something_came_ = false, is_end_hidden_ = false;
  std::optional<unsigned long> unread_;  // when the last round ended, if there was more
  std::size_t text_left_;
  Alive alive_;
};

}  // namespace banyan::connector
