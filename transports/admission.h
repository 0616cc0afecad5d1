// transports/admission.h -- how many handshakes one server has to bear at a time.
//
// A server drops connections at random once it has too many whose user is not known yet (sshd's MaxStartups:
// from ten on). So a hop admits so many at a time, the others wait in order. When it drops one all the same
// (others connect there too), the hop is left alone for a moment, longer each time, and then admits half as
// many; each that passes takes it towards the usual number again. A hop is what is connected to first: the
// host, or the first jump on the way to it.
//
// Thread: the loop's. The loop outlives it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "core/alive.h"
#include "core/loop.h"
#include "core/result.h"

namespace banyan {

constexpr std::size_t kHandshakesMax = 8;  // a hop; two less than where sshd begins to drop

// The server hung up before it could know who we are.
inline bool is_drop(const Error& error) {
  return error.error_class == ErrorClass::kRefused && error.phase == Phase::kKex;
}

class Admission {
 public:
  enum class Outcome : std::uint8_t {
    kPassed,   // it was let in
    kFailed,   // for another reason than the crowd, or given up
    kDropped,  // the server hung up before it knew us
  };
  enum class Place : std::uint8_t { kBack, kFront };  // of the queue; those that come again go to the front
  using Ticket = std::uint64_t;

  explicit Admission(Loop& loop) : loop_(loop) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  ~Admission();

  // `admitted` runs once, from the loop, unless the ticket is given back before.
  Ticket ask(const std::string& hop, Place place, Loop::Task admitted);
  // Gives a ticket back, whether it was admitted or still waits. Once.
  void give_back(Ticket ticket, Outcome outcome);

  bool is_waiting(Ticket ticket) const;
  // Has this hop let anybody in? Then one that drops us is crowded, not somebody else's server.
  bool has_passed(const std::string& hop) const;

 private:
  struct Hop {
    std::size_t limit = kHandshakesMax, inside = 0, passed_in_a_row = 0;
    bool has_passed = false;
    std::deque<Ticket> waiting;
    Nanos pause = 0;  // of the last drop; 0: none since one passed
    Nanos dropped_at = 0;
    Loop::TimerId paused = 0;
  };
  struct Visit {
    std::map<std::string, Hop>::iterator hop;
    Loop::Task admitted;
    Nanos admitted_at = 0;
    bool is_inside = false;
  };
  void admit(Hop& hop);
  void on_dropped(Hop& hop, const Visit& visit);
  static void on_passed(Hop& hop);

  Loop& loop_;
  std::map<std::string, Hop> hops_;  // as many as targets have
  std::map<Ticket, Visit> visits_;
  Ticket next_ = 1;
  Alive alive_;
};

}  // namespace banyan
