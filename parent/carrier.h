// parent/carrier.h -- what carries the channel to a child: a process that we start, or a session that another
// process keeps for us (transports/connectors.h).
//
// The channel is a socket; the carrier has its far end. Thread: the loop's. Lifetime: the owner destroys a
// carrier, not from inside a call of it; one that still runs is ended by that.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "core/fd.h"
#include "core/loop.h"
#include "core/result.h"

namespace banyan {

class Carrier {
 public:
  struct Ending {
    std::optional<Error> error;  // what went wrong, from carriers that know: class, phase, text, remedy
    int status = 0;              // as of waitpid(), or kStatusUnknown
  };

  class Owner {
   public:
    // How far it is on its way to the shell. Only from carriers that can tell.
    virtual void on_carrier_phase(Phase phase) = 0;
    // It waits for a person, or does no more: that is nobody's slowness. Only from carriers that can tell.
    virtual void on_carrier_asks(bool asks) = 0;
    // What it, or the far end, said on standard error.
    virtual void on_carrier_text(std::string_view text) = 0;
    // Nothing of it is left, and its end of the channel is closed. Once, from the loop.
    virtual void on_carrier_end(const Ending& ending) = 0;

   protected:
    ~Owner() = default;
  };

  virtual ~Carrier() = default;
  // Ends it: on_carrier_end() follows within kGrace and a little.
  virtual void end() = 0;
  // The same without grace, where that can be.
  virtual void kill() { end(); }
  // In case it was stopped (Ctrl-Z, SIGSTOP), where that can be known.
  virtual void wake() {}
  // It lives on when this is destroyed, where it is itself what it carries a channel to.
  virtual void let_go() {}
  // Takes in what was said and has not been told yet.
  virtual void read_text() = 0;
};

// Makes carriers other than processes.
class CarrierSource {
 public:
  virtual ~CarrierSource() = default;
  // An error is of phase connect.
  virtual Result<std::unique_ptr<Carrier>> carry(Fd far_end, Carrier::Owner& owner) = 0;
};

}  // namespace banyan
