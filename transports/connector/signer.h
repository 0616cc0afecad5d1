// transports/connector/signer.h -- the user's keys, for an ssh at a hop: a key agent that signs for one
// connection, which the root has ordered, and for nothing else.
//
// That ssh asks over the tree (parent/back_channel.h) and is not trusted, nor is the hop it runs on. It first
// has to prove which host it talks to (session-bind@openssh.com, OpenSSH 8.9): by a signature of that host's
// over the session, with a key that our known_hosts has for the target. Then it may list the keys, and each
// signs once, for that session and the user that was ordered (docs/security.md). An order that trusts the
// hop does without the proof, for the sake of an older ssh.
//
// Thread: the loop's. The ring outlives it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "transports/connector/host_keys.h"
#include "transports/connector/identities.h"

namespace banyan::connector {

class Signer {
 public:
  // Whose a refusal is: there is no key or passphrase here; or more was asked for than was ordered.
  enum class Fault : std::uint8_t { kOurs, kAskers };

  class Owner {
   public:
    virtual void on_signed(SessionId id, std::uint32_t visitor, Bytes answer) = 0;
    virtual void on_passphrase(SessionQuestion question) = 0;
    // Why it did not sign, for people.
    virtual void on_refusal(SessionId id, std::string_view why, Fault fault) = 0;

   protected:
    ~Owner() = default;
  };

  Signer(Loop& loop, KeyRing& ring, SessionOrder order, Owner& owner);
  Signer(const Signer&) = delete;
  Signer& operator=(const Signer&) = delete;
  ~Signer();

  // A request in the key agent's protocol, without its length; answered in order.
  void ask(KeyRequestMessage request);
  void answer(SessionAnswer answer);

 private:
  struct Bound {  // what a visitor has proved
    Buffer session, host_key;
  };
  struct Disproved {  // what it said was no proof
    std::string why;
    Fault fault;
  };
  struct Login {  // what it wants signed
    std::string_view algorithm;
    Bytes session, key, host_key;
  };
  void run();
  bool serve(const KeyRequestMessage& request);  // false: it has to wait
  void list(std::uint32_t visitor);
  void bind(std::uint32_t visitor, Bytes request);
  bool sign(std::uint32_t visitor, Bytes request);
  const char* objection_to_visitor(std::uint32_t visitor) const;
  const char* objection_to_bind(std::uint32_t visitor, Bytes request, Fault& fault);
  const char* objection_to(std::uint32_t visitor, Bytes key, Bytes data, Login& login);
  void refuse(std::uint32_t visitor, std::string_view why);  // whose fault: as of its proof
  void refuse(std::uint32_t visitor, std::string_view why, Fault fault);
  void reply(std::uint32_t visitor, Bytes answer) { owner_.on_signed(order_.id, visitor, answer); }

  Alive alive_;
  const SessionOrder order_;
  Owner& owner_;
  Identities identities_;
  std::deque<KeyRequestMessage> waiting_;
  std::map<std::uint32_t, Bound> bound_;
  std::map<std::uint32_t, Disproved> disproved_;
  Buffer session_;            // the one that is signed for
  std::vector<Buffer> used_;  // keys that have signed, or could not
  std::string objection_;     // of known_hosts, to the host that was shown
  std::uint32_t question_ = 0;
};

}  // namespace banyan::connector
