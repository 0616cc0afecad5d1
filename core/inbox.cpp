#include "core/inbox.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/msgpack.h"

namespace banyan {

namespace {

constexpr std::uint32_t kCreditShare = 4;       // credit is given back in quarters of the window
constexpr std::uint32_t kLinkShare = 4;         // of the assembly budget, one link may reserve so much
constexpr std::uint32_t kWaitingMin = 1 << 20;  // what may wait for a share, however small: sixteen messages
constexpr std::uint32_t kDrainedShare = 8;      // "the reader keeps up": no more than this share is held

bool is_stream(const FlowKey& flow) {
  return flow.stream >= kFirstFreeStream;
}

}  // namespace

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this != &other) {
    settle();
    inbox_ = std::exchange(other.inbox_, nullptr);
    link_ = other.link_;
    flow_ = other.flow_;
    window_bytes_ = std::exchange(other.window_bytes_, 0);
    assembly_bytes_ = std::exchange(other.assembly_bytes_, 0);
    holds_link_ = other.holds_link_;
  }
  return *this;
}

void Charge::settle() {
  if (inbox_ != nullptr) std::exchange(inbox_, nullptr)->give_back(*this);
}

Inbox::Inbox(Owner& owner, WindowBudget& budget, const InboxLimits& limits)
    : owner_(owner), budget_(budget), limits_(limits) {}

// Counts the frame against its stream's window. If there is no room for it, it is thrown away.
Inbox::Verdict Inbox::admit(std::uint32_t link, const Header& header) {
  const FlowKey flow = flow_of(header);
  auto window = windows_.find(flow);
  if (window == windows_.end()) {
    Share& share = shares_[link];
    if (share.streams >= limits_.streams_max) return Verdict::kTooMany;
    ++share.streams;
    window = windows_.emplace(flow, Window{.link = link, .size = limits_.stream_window}).first;
  }
  Window& w = window->second;
  const auto bytes = std::uint32_t(header.wire_bytes());
  if (w.ended) return Verdict::kEnded;
  if (std::uint64_t(w.held) + w.uncredited + bytes > w.size) return Verdict::kOverrun;
  w.held += bytes;
  w.received_since_growth += bytes;
  w.sender_waits = false;
  w.handle = header.handle;
  return Verdict::kAdmitted;
}

void Inbox::accept(std::uint32_t link, const Header& header, Bytes payload) {
  const FlowKey flow = flow_of(header);
  Charge charge;
  if (header.has(kAborted)) {
    owner_.release_link(link, header.wire_bytes());
    forget(flow);
    if (!is_stream(flow)) return;
    end_stream(flow);
    return owner_.on_message(link, header, {}, charge);
  }
  const Verdict verdict = admit(link, header);
  if (verdict != Verdict::kAdmitted) {
    owner_.release_link(link, header.wire_bytes());
    if (verdict != Verdict::kEnded) owner_.refuse_stream(link, header, verdict == Verdict::kOverrun);
    return;
  }
  charge.inbox_ = this;
  charge.link_ = link;
  charge.flow_ = flow;
  charge.window_bytes_ = std::uint32_t(header.wire_bytes());
  // A first frame where a message was begun and not finished: its sender broke off.
  if (header.has(kFirst)) forget(flow);
  if (header.has(kFirst) && header.has(kLast)) {
    if (is_stream(flow) && payload.empty()) end_stream(flow);
    owner_.on_message(link, header, payload, charge);
  } else if (header.has(kFirst)) {
    begin(link, header, payload, std::move(charge));
  } else {
    go_on(link, header, payload, std::move(charge));
  }
}

// What waits for its reservation must not fill the link: what it waits for comes through there as well.
void Inbox::hold(Assembly& assembly, Charge charge) {
  owner_.release_link(charge.link_, charge.window_bytes_);
  charge.holds_link_ = false;
  assembly.charges.push_back(std::move(charge));
}

void Inbox::begin(std::uint32_t link, const Header& header, Bytes payload, Charge charge) {
  Assembly& assembly = assemblies_[flow_of(header)];
  assembly.first = header;
  assembly.link = link;
  assembly.total = load_le<std::uint64_t>(payload.data());
  const Bytes rest = payload.subspan(kLengthPrefixBytes);
  if (assembly.total > limits_.message_max || rest.size() > assembly.total) {
    owner_.refuse_too_large(link, header);
    return;
  }
  Share& share = shares_[link];
  const std::uint32_t window = windows_.find(flow_of(header))->second.size;
  // Of what waits no link may have more than of what is reserved.
  const std::uint64_t most = std::max<std::uint64_t>(limits_.assembly_budget / kLinkShare, kWaitingMin);
  if (share.may_hold > 0 && share.may_hold + window > most) return owner_.refuse_busy(link, header);
  share.may_hold += assembly.may_hold = window;
  assembly.bytes.assign(rest.begin(), rest.end());
  hold(assembly, std::move(charge));
  assembly.place = Assembly::Place::kWaiting;
  assembly.waits_at = share.waiting.insert(share.waiting.end(), flow_of(header));
  reserve_next(link);
}

void Inbox::go_on(std::uint32_t link, const Header& header, Bytes payload, Charge charge) {
  const FlowKey flow = flow_of(header);
  auto found = assemblies_.find(flow);
  if (found == assemblies_.end()) return;  // the tail of something cut off
  Assembly& assembly = found->second;
  const bool refused = assembly.place == Assembly::Place::kNone;
  if (refused || assembly.bytes.size() + payload.size() > assembly.total) {
    if (header.has(kLast) || !refused) forget(flow);
    return;
  }
  // Grows with what was received, never with what was promised.
  assembly.bytes.insert(assembly.bytes.end(), payload.begin(), payload.end());
  if (!header.has(kLast)) {
    if (assembly.place == Assembly::Place::kWaiting) hold(assembly, std::move(charge));
    return;
  }
  if (assembly.bytes.size() != assembly.total) return forget(flow);
  // What it reserved passes to the message's own charge.
  Charge whole;
  if (assembly.place == Assembly::Place::kReserved) {
    charge.settle();
    whole.inbox_ = this;
    whole.link_ = link;
    whole.flow_ = flow;
    whole.assembly_bytes_ = std::uint32_t(assembly.total);
    assembly.place = Assembly::Place::kNone;
  } else {
    whole = std::move(charge);
  }
  Assembly done = std::move(assembly);
  forget(flow);
  Header first = done.first;
  first.flags |= kLast;
  owner_.on_message(link, first, done.bytes, whole);
}

// Whether the link's share has room for the first that waits.
bool Inbox::may_reserve(const Share& share) const {
  if (share.waiting.empty()) return false;
  const Assembly& first = assemblies_.find(share.waiting.front())->second;
  return share.reserved == 0 || share.reserved + first.total <= limits_.assembly_budget / kLinkShare;
}

// After anything that may let `link` or others reserve. Within a link first come, first served: a small
// message never overtakes the large one that waits before it. Links take turns, one message each; one that
// has its share waits for itself alone, without a turn.
void Inbox::reserve_next(std::uint32_t link) {
  const auto changed = shares_.find(link);
  if (changed != shares_.end() && !changed->second.has_turn && may_reserve(changed->second)) {
    changed->second.has_turn = true;
    turns_.push_back(link);
  }
  std::list<Charge> credited;  // ends last: giving credit calls others
  while (!turns_.empty()) {
    ++waits_looked_at_;
    const auto found = shares_.find(turns_.front());
    if (found == shares_.end() || !may_reserve(found->second)) {  // cut, or thought better of it
      if (found != shares_.end()) found->second.has_turn = false;
      turns_.pop_front();
      continue;
    }
    Share& share = found->second;
    Assembly& assembly = assemblies_.find(share.waiting.front())->second;
    if (assembly_used_ > 0 && assembly_used_ + assembly.total > limits_.assembly_budget) return;
    assembly_used_ += assembly.total;
    share.reserved += assembly.total;
    share.waiting.pop_front();
    share.may_hold -= assembly.may_hold;
    assembly.place = Assembly::Place::kReserved;
    credited.splice(credited.end(), assembly.charges);
    turns_.splice(turns_.end(), turns_, turns_.begin());
  }
}

void Inbox::unreserve(std::uint32_t link, std::uint64_t bytes) {
  assembly_used_ -= bytes;
  const auto share = shares_.find(link);
  if (share != shares_.end()) share->second.reserved -= bytes;
  reserve_next(link);
}

void Inbox::forget(const FlowKey& flow) {
  auto found = assemblies_.find(flow);
  if (found == assemblies_.end()) return;
  const Assembly gone = std::move(found->second);
  if (gone.place == Assembly::Place::kWaiting) {
    Share& share = shares_.find(gone.link)->second;
    share.waiting.erase(gone.waits_at);
    share.may_hold -= gone.may_hold;
  }
  assemblies_.erase(found);
  if (gone.place == Assembly::Place::kReserved)
    unreserve(gone.link, gone.total);
  else if (gone.place == Assembly::Place::kWaiting)
    reserve_next(gone.link);
}

void Inbox::give_back(Charge& charge) {
  if (charge.assembly_bytes_ != 0) unreserve(charge.link_, charge.assembly_bytes_);
  if (charge.window_bytes_ == 0) return;
  if (charge.holds_link_) owner_.release_link(charge.link_, charge.window_bytes_);
  auto window = windows_.find(charge.flow_);
  // A link that broke took its windows along; the same numbers may have come back by another way.
  if (window == windows_.end() || window->second.link != charge.link_) return;
  Window& w = window->second;
  ASSERT(charge.window_bytes_ <= w.held);
  w.held -= charge.window_bytes_;
  w.uncredited += charge.window_bytes_;
  if (w.ended) {
    if (w.held == 0) erase_window(window);
    return;
  }
  const std::uint32_t growth = grow(w);
  if (growth > 0 || w.uncredited >= w.size / kCreditShare) give_credit(charge.flow_, w, growth);
}

void Inbox::give_credit(const FlowKey& flow, Window& window, std::uint32_t growth) {
  const std::uint32_t credit = window.uncredited + growth;
  if (credit == 0) return;
  window.uncredited = 0;
  owner_.send_control(flow.source, kStreamCredit,
                      Packer().array(2).number(flow.stream).number(credit).buffer());
}

void Inbox::on_blocked(const FlowKey& flow) {
  auto found = windows_.find(flow);
  if (found == windows_.end()) return;
  found->second.sender_waits = true;
  give_credit(flow, found->second, grow(found->second));
}

// As Link::grow(). Here the data is nearly always still held when the sender's word comes: a program reads in
// a thread of its own.
std::uint32_t Inbox::grow(Window& window) {
  if (!window.sender_waits || window.held > window.size / kDrainedShare ||
      window.received_since_growth < window.size / 2)
    return 0;
  const std::uint32_t growth = std::min(window.size, limits_.stream_window_max - window.size);
  if (growth > budget_.left) return 0;
  budget_.left -= growth;
  window.size += growth;
  window.received_since_growth = 0;
  window.sender_waits = false;
  return growth;
}

// The entry stays until its last charge is given back.
void Inbox::end_stream(const FlowKey& flow) {
  auto window = windows_.find(flow);
  if (window == windows_.end()) return;
  window->second.ended = true;
  if (window->second.held == 0) erase_window(window);
}

void Inbox::erase_window(Table<FlowKey, Window>::Iterator window) {
  if (window->second.size > limits_.stream_window)
    budget_.left += window->second.size - limits_.stream_window;
  --shares_[window->second.link].streams;
  windows_.erase(window);
}

void Inbox::cut(std::uint32_t link) {
  cut_flows([link](std::uint32_t of, const FlowKey&) { return of == link; });
  shares_.erase(link);
}

void Inbox::cut(const Function<bool(ContextId)>& is_gone) {
  cut_flows([&is_gone](std::uint32_t, const FlowKey& flow) { return is_gone(flow.source); });
}

void Inbox::cut_flows(const Function<bool(std::uint32_t link, const FlowKey&)>& is_cut) {
  std::list<FlowKey> half_arrived;
  for (const auto& [flow, assembly] : assemblies_)
    if (is_cut(assembly.link, flow)) half_arrived.push_back(flow);
  for (const FlowKey& flow : half_arrived) forget(flow);

  std::list<std::pair<std::uint32_t, Header>> cut_off;
  for (auto window = windows_.begin(); window != windows_.end();) {
    const auto here = window++;
    if (!is_cut(here->second.link, here->first)) continue;
    const FlowKey& flow = here->first;
    if (is_stream(flow) && !here->second.ended) {
      Header header;
      header.flags = kAborted | kLast;
      header.source = header.authority = flow.source;
      header.destination = flow.destination;
      header.stream = flow.stream;
      header.handle = here->second.handle;
      cut_off.emplace_back(here->second.link, header);
    }
    erase_window(here);
  }
  for (const auto& [link, header] : cut_off) {
    Charge none;
    owner_.on_message(link, header, {}, none);
  }
}

}  // namespace banyan
