#include "transports/admission.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace banyan {
namespace {

// A crowd of connections that were made together is gone after the first; one that stays is others' doing.
constexpr Nanos kFirstPause = 250 * kMillisecond, kPauseMax = 8 * kSecond;

}  // namespace

Admission::~Admission() {
  *alive_ = false;
  for (auto& [name, hop] : hops_) loop_.cancel(hop.paused);
}

Admission::Ticket Admission::ask(const std::string& hop, Place place, Loop::Task admitted) {
  const Ticket ticket = next_++;
  const auto found = hops_.try_emplace(hop).first;
  visits_.emplace(ticket, Visit{.hop = found, .admitted = std::move(admitted)});
  auto& waiting = found->second.waiting;
  waiting.insert(place == Place::kFront ? waiting.begin() : waiting.end(), ticket);
  admit(found->second);
  return ticket;
}

void Admission::admit(Hop& hop) {
  while (hop.paused == 0 && hop.inside < hop.limit && !hop.waiting.empty()) {
    const Ticket ticket = hop.waiting.front();
    hop.waiting.pop_front();
    Visit& visit = visits_.at(ticket);
    visit.is_inside = true;
    visit.admitted_at = loop_.now();
    ++hop.inside;
    loop_.post([this, alive = alive_, ticket] {
      if (!*alive) return;
      const auto found = visits_.find(ticket);
      if (found != visits_.end()) std::exchange(found->second.admitted, nullptr)();
    });
  }
}

void Admission::give_back(Ticket ticket, Outcome outcome) {
  const auto found = visits_.find(ticket);
  ASSERT(found != visits_.end());
  const Visit visit = std::move(found->second);
  visits_.erase(found);
  Hop& hop = visit.hop->second;
  if (!visit.is_inside) {
    std::erase(hop.waiting, ticket);
    return;
  }
  --hop.inside;
  if (outcome == Outcome::kPassed) on_passed(hop);
  if (outcome == Outcome::kDropped) on_dropped(hop, visit);
  admit(hop);
}

// Those dropped together with one that we know of tell nothing new.
void Admission::on_dropped(Hop& hop, const Visit& visit) {
  if (hop.pause > 0 && visit.admitted_at <= hop.dropped_at) return;
  hop.dropped_at = loop_.now();
  hop.passed_in_a_row = 0;
  hop.limit = std::max<std::size_t>(1, hop.limit / 2);
  hop.pause = hop.pause == 0 ? kFirstPause : std::min(2 * hop.pause, kPauseMax);
  // Between half of it and one and a half, so that several of us do not come back together.
  const Nanos jittered = hop.pause / 2 + Nanos(loop_.random() % std::uint64_t(hop.pause));
  loop_.cancel(hop.paused);
  hop.paused = loop_.after(jittered, [this, &hop] {
    hop.paused = 0;
    admit(hop);
  });
}

void Admission::on_passed(Hop& hop) {
  hop.has_passed = true;
  hop.pause = 0;
  if (++hop.passed_in_a_row < hop.limit || hop.limit == kHandshakesMax) return;
  hop.passed_in_a_row = 0;
  ++hop.limit;
}

bool Admission::is_waiting(Ticket ticket) const {
  const auto found = visits_.find(ticket);
  return found != visits_.end() && !found->second.is_inside;
}

bool Admission::has_passed(const std::string& hop) const {
  const auto found = hops_.find(hop);
  return found != hops_.end() && found->second.has_passed;
}

}  // namespace banyan
