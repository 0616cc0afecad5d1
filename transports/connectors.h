// transports/connectors.h -- the root's side of the connectors: starts them, spreads sessions over them,
// hears of their ends.
//
// One connector a processor at most, started when the others have sessions already. A connector that dies
// takes its own sessions with it and no other: each of their owners hears kLost. Thread: the loop's.
// Lifetime: outlives every carrier it made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/reaper.h"
#include "parent/answerer.h"
#include "parent/carrier.h"
#include "transports/connector_protocol.h"
#include "transports/secrets.h"

namespace banyan {

class Connectors {
 public:
  // `program` is the path of banyan-connector. `secrets`: whom sessions may ask; null: nobody, else it
  // outlives this.
  Connectors(Loop& loop, std::string program, Secrets* secrets = nullptr);
  Connectors(const Connectors&) = delete;
  Connectors& operator=(const Connectors&) = delete;
  ~Connectors();

  // Opens a session with the host, runs `command` there, and makes `far_end` its standard input and output.
  // `login`: who it is that asks; 0: it may not.
  Result<std::unique_ptr<Carrier>> open(const SessionSettings& settings, std::string_view command, Fd far_end,
                                        Carrier::Owner& owner, Secrets::LoginId login = 0);

  // Signs with our keys for an ssh elsewhere, which asks through what is given back: of the settings who logs
  // in where, known_hosts and the keys count. `trusts`: also for one that cannot prove where (signer.h).
  static constexpr std::size_t kExcessesMax = 16;  // there are a dozen of reasons
  class Signatures : public Answerer {
   public:
    // Why there was none, the last time; empty: nothing was refused.
    virtual const std::string& refusal() const = 0;
    // Why what was asked for beyond the order was refused: each reason once, and so many of them.
    virtual const std::vector<std::string>& excesses() const = 0;
    virtual bool has_signed() const = 0;
    // The connector has ended: there is no signature any more.
    virtual bool is_over() const = 0;
  };
  Result<std::shared_ptr<Signatures>> open_signer(const SessionSettings& settings, bool trusts,
                                                  Secrets::LoginId login = 0);

  // Beside the running program, or the one that BANYAN_CONNECTOR names.
  static std::string default_program();

 private:
  class Party;  // one that a connector works for
  class Session;
  class Signer;
  class Connector;
  Result<Connector*> least_loaded();

  Loop& loop_;
  const std::string program_;
  Secrets* const secrets_;
  const std::size_t count_max_;
  std::vector<std::unique_ptr<Connector>> connectors_;
  SessionId next_ = 1;
};

}  // namespace banyan
