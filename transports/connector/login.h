// transports/connector/login.h -- logging in on one server: which ways are tried, in which order, and who is
// asked.
//
// Keys come first without asking what the server takes, which saves a round trip; each refusal says it. Only
// who has nothing to try asks, as the first request, which sshd does not count. Then the server's list and
// the order's decide. Each step asks libssh2 until it would block. Thread: the loop's. What it is given
// outlives it.
#pragma once

#include <libssh2.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transports/connector/identities.h"
#include "transports/connector/interactive.h"
#include "transports/connector/library.h"

namespace banyan::connector {

class Login {
 public:
  class Owner {
   public:
    // To be answered by answer(), later. One at a time.
    virtual void on_question(SessionQuestion question) = 0;
    // The server did not take what was answered last.
    virtual void on_refused() = 0;
    // How far it has come, in ssh's words; only if the settings want it.
    virtual void on_step(std::string_view step) = 0;
    // What was waited for has come: run() again.
    virtual void on_login_ready() = 0;

   protected:
    ~Owner() = default;
  };
  enum class Progress : std::uint8_t { kDone, kWait, kFailed, kLibraryFailed, kGoOn };

  // The keys have been exchanged, and the host's is right.
  Login(Loop& loop, KeyRing& ring, const SessionSettings& settings, LIBSSH2_SESSION* session, int socket,
        Owner& owner);
  Login(const Login&) = delete;
  Login& operator=(const Login&) = delete;

  // The keys have been gathered.
  bool is_ready() const { return identities_.is_ready(); }
  // kFailed: error() says why; kLibraryFailed: libssh2 knows; never kGoOn.
  Progress run();
  const Error& error() const { return error_; }

  // A person is being asked: the server has nothing to say but that it hangs up.
  bool is_asking() const { return asking_; }
  // So it has while keys are gathered, opened, or sign.
  bool is_waiting_for_keys() const { return !is_ready() || waits_for_keys_; }
  // Another thread has the session.
  bool has_lent_session() const { return interactive_ != nullptr; }
  void answer(SessionAnswer answer);

 private:
  enum class Method : std::uint8_t { kNone, kKeys, kInteractive, kPassword };

  void ask(SessionQuestion question);
  void tell_key(std::string_view what);  // about the current one
  void tell_done();
  Progress step();
  Progress choose();
  Progress try_keys();
  Progress try_password();
  Progress try_interactive();
  Progress ask_what_is_offered();
  void take_refusal();
  void was_refused(std::string_view what);
  Progress failed(std::string_view text, std::string_view remedy = {});
  Progress no_way_left();
  std::optional<Progress> if_cut_off();
  std::string refusals() const;
  bool is_wanted(std::string_view method) const;
  bool is_offered(std::string_view method) const;
  static int sign(LIBSSH2_SESSION* session, unsigned char** signature, std::size_t* signature_bytes,
                  const unsigned char* data, std::size_t data_bytes, void** abstract);

  Loop& loop_;
  const SessionSettings& settings_;
  Owner& owner_;
  LIBSSH2_SESSION* const session_;
  const int socket_;
  Library* const library_;
  Identities identities_;

  Method method_ = Method::kNone;
  bool keys_are_over_ = false, has_list_ = false;
  bool was_taken_ = false;                       // what was refused last, but more is wanted
  std::string offered_;                          // what the server takes, with commas between
  std::string refused_;                          // what it did not take, for people
  std::uint32_t passwords_ = 0, exchanges_ = 0;  // tries
  std::optional<KeyRequest> request_;            // of the key that is being tried
  std::uint32_t question_ = 0;                   // number of the last
  bool asking_ = false, waits_for_keys_ = false;
  std::optional<Secret> password_;
  bool was_answered_ = false;  // in the exchange that goes on
  bool was_declined_ = false;
  std::unique_ptr<Interactive> interactive_;
  std::optional<int> interactive_code_;
  Error error_;
};

}  // namespace banyan::connector
