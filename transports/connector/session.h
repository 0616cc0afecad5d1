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
#include "transports/connector/identities.h"
#include "transports/connector/key_request.h"
#include "transports/connector/known_hosts.h"
#include "transports/connector/resolver.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

class Session {
 public:
  class Owner {
   public:
    virtual void on_phase(Session& session, Phase phase) = 0;
    virtual void on_text(Session& session, std::string_view text) = 0;
    // Once. The session is over; destroy it, but not from inside this call.
    virtual void on_end(Session& session, SessionEnd end) = 0;

   protected:
    ~Owner() = default;
  };

  // `channel` is the socket whose other end the root reads and writes.
  Session(Loop& loop, Resolver& resolver, SessionOrder order, Fd channel, Owner& owner);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  SessionId id() const { return order_.id; }
  void start();

 private:
  enum class Step : std::uint8_t {
    kResolve,
    kConnect,
    kHandshake,
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
  Progress handshake();
  Progress check_host_key();
  Progress accept_host_key(Bytes key);
  void load_identities();
  Progress authenticate();
  Progress open_channel();
  Progress set_environment();
  Progress execute();

  Progress carry();
  bool carry_in();   // from the host to the root; false: over
  bool carry_out();  // from the root to the host; false: over
  void read_stderr();
  std::optional<std::uint8_t> exit_code() const;

  void again_soon();

  void watch_socket();
  void watch_channel();
  void fail(ErrorClass error_class, const std::string& text, std::string_view remedy = {});
  void fail_by_library(std::string_view what);
  bool fail_if_cut_off();
  std::string refusals() const;
  static ssize_t receive(int socket, void* to, std::size_t bytes, int flags, void** abstract);
  static void on_farewell(LIBSSH2_SESSION* session, int reason, const char* message, int bytes,
                          const char* language, int language_bytes, void** abstract);
  void end(std::optional<Error> error, std::optional<std::uint8_t> exit_code = {});
  Phase phase() const;
  static void* allocate(std::size_t bytes, void** abstract);
  static void* reallocate(void* memory, std::size_t bytes, void** abstract);
  static void release(void* memory, void** abstract);
  static int sign(LIBSSH2_SESSION* session, unsigned char** signature, std::size_t* signature_bytes,
                  const unsigned char* data, std::size_t data_bytes, void** abstract);

  Loop& loop_;
  Resolver& resolver_;
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

  KnownHosts known_;  // until the host's key has been checked
  LIBSSH2_SESSION* session_ = nullptr;
  LIBSSH2_CHANNEL* remote_ = nullptr;
  std::size_t variables_set_ = 0;
  std::unique_ptr<Identities> identities_;
  std::optional<KeyRequest> request_;  // of the key that is being tried
  std::string refused_;                // names of the keys that the server did not take
  std::string farewell_;               // what the server said when it hung up

  Buffer to_root_, to_host_;  // each at most kCarryMax, and only what the other side would not take yet
  std::size_t to_root_at_ = 0, to_host_at_ = 0;
  bool root_ended_ = false, root_told_ = false, host_ended_ = false, eof_sent_ = false;
  std::size_t text_left_;
  std::size_t round_left_ = 0, early_left_;  // bytes from the server, until the command runs
  Alive alive_;
};

}  // namespace banyan::connector
