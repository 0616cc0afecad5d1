#include "core/inbox.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/msgpack.h"

namespace banyan {

namespace {

constexpr std::uint32_t kCreditShare = 4;  // credit is given back in quarters of the window
constexpr std::uint32_t kLinkShare = 4;    // of the assembly budget, one link may reserve so much
constexpr std::uint32_t kWaitingShare =
    2;  // as much may wait in one link's streams, a half of it one source's
constexpr std::uint32_t kWaitingMin = 2 << 20;  // however small the budget: sixteen messages of one source
constexpr std::uint64_t kProgressShare = 64;    // see kProgressEvery
constexpr std::uint32_t kDrainedShare = 8;      // "the reader keeps up": no more than this share is held

bool is_stream(const FlowKey& flow) {
  return flow.stream >= kFirstFreeStream;
}

}  // namespace

Buffer pack_credit(StreamId stream, std::uint64_t bytes, bool refused) {
  return Packer().array(3).number(stream).number(bytes).number(std::uint32_t(refused)).take();
}

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

// Counts the frame against its stream's window. False: there is no room for it. Calls and replies of whoever
// has an id are always taken in.
bool Inbox::admit(std::uint32_t link, const Header& header) {
  const FlowKey flow = flow_of(header);
  auto window = windows_.find(flow);
  if (window == windows_.end()) {
    if (is_stream(flow) && !streams_.take(flow.source, shares_[link].streams, limits_.streams_max)) {
      owner_.refuse(link, header, Owner::Refusal::kStreams);
      return false;
    }
    window = windows_.emplace(flow, Window{.link = link, .size = limits_.stream_window}).first;
  }
  Window& w = window->second;
  const auto bytes = std::uint32_t(header.wire_bytes());
  if (w.ended) return false;
  if (std::uint64_t(w.held) + w.uncredited + bytes > w.size) {
    owner_.refuse(link, header, Owner::Refusal::kOverrun);
    return false;
  }
  w.held += bytes;
  w.received_since_growth += bytes;
  w.sender_waits = false;
  w.handle = header.handle;
  return true;
}

void Inbox::accept(std::uint32_t link, const Header& header, Bytes payload) {
  const FlowKey flow = flow_of(header);
  Charge charge;
  if (header.has(kAborted)) {
    owner_.release_link(link, header.wire_bytes());
    forget(flow);
    if (!is_stream(flow)) return;
    const auto window = windows_.find(flow);
    const bool is_news = window == windows_.end() || !window->second.ended;
    end_stream(flow);
    if (is_news) owner_.on_message(link, header, {}, charge);
    return;
  }
  if (!admit(link, header)) return owner_.release_link(link, header.wire_bytes());
  charge.inbox_ = this;
  charge.link_ = link;
  charge.flow_ = flow;
  charge.window_bytes_ = std::uint32_t(header.wire_bytes());
  // A first frame where a message was begun and not finished: its sender broke off.
  if (header.has(kFirst)) forget(flow);
  if (header.has(kFirst) && header.has(kLast)) {
    if (is_stream(flow) && payload.empty()) end_stream(flow);
    deliver(link, header, payload, std::move(charge));
  } else if (header.has(kFirst)) {
    begin(link, header, payload, std::move(charge));
  } else {
    go_on(link, header, payload, std::move(charge));
  }
}

// Of a stream that nobody took nothing is kept: what it sent is given back, and it is as if it had not begun.
void Inbox::deliver(std::uint32_t link, const Header& header, Bytes payload, Charge charge) {
  const FlowKey flow = flow_of(header);
  if (owner_.on_message(link, header, payload, charge) || !is_stream(flow)) return;
  charge.settle();
  const auto window = windows_.find(flow);
  if (window == windows_.end() || window->second.held != 0 || window->second.size != limits_.stream_window)
    return;
  give_credit(flow, window->second, 0);
  erase_window(window);
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
    return owner_.refuse(link, header, Owner::Refusal::kTooLarge);
  }
  if (!wait(flow_of(header), assembly, shares_[link]))
    return owner_.refuse(link, header, Owner::Refusal::kBusy);
  assembly.bytes.assign(rest.begin(), rest.end());
  hold(assembly, std::move(charge));
  reserve_next(link);
  if (assembly.place != Assembly::Place::kWaiting || std::exchange(is_looking_, true)) return;
  owner_.look_later();
}

// Sources take turns, so one that begins many waits behind others that begin one; in a round last who was
// served last. Of what waits no source may have more than it leaves to others.
bool Inbox::wait(const FlowKey& flow, Assembly& assembly, Share& share) {
  Wait last{flow, share.round + 1, windows_.find(flow)->second.size};
  std::uint64_t of_source = last.may_hold;
  for (const Wait& other : share.waiting) {
    if (other.flow.source != flow.source) continue;
    of_source += other.may_hold;
    last.round = other.round + 1;
  }
  const std::uint64_t most = std::max<std::uint64_t>(limits_.assembly_budget / kWaitingShare, kWaitingMin);
  if (share.may_hold > 0 && share.may_hold + of_source > most) return false;
  const auto goes_before = [&](const Wait& other) {
    return other.round > last.round ||
           (other.round == last.round && other.flow.source == share.served && flow.source != share.served);
  };
  auto at = share.waiting.end();
  while (at != share.waiting.begin() && goes_before(*std::prev(at))) --at;
  assembly.waits_at = share.waiting.insert(at, last);
  assembly.place = Assembly::Place::kWaiting;
  share.may_hold += last.may_hold;
  return true;
}

void Inbox::look_at_progress() {
  CutOff stalled, streams;
  for (auto& [flow, assembly] : assemblies_) {
    if (assembly.place != Assembly::Place::kReserved) continue;
    if (turns_.empty() && shares_[assembly.link].waiting.empty()) continue;
    if (assembly.bytes.size() < assembly.due) stalled.emplace_back(assembly.link, assembly.first);
    assembly.due = assembly.bytes.size() + assembly.total / kProgressShare;
  }
  for (auto& [link, header] : stalled) {
    forget(flow_of(header));
    owner_.refuse(link, header, Owner::Refusal::kBusy);
    header.flags = kAborted | kLast;
    header.length = 0;
    const auto window = windows_.find(flow_of(header));
    if (window == windows_.end() || !is_stream(flow_of(header))) continue;
    window->second.ended = true;  // until its sender says so, lest what follows be taken for a new one
    streams.emplace_back(link, header);
  }
  tell(streams);
  is_looking_ = !assemblies_.empty();
  if (is_looking_) owner_.look_later();
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
  deliver(link, first, done.bytes, std::move(whole));
}

// Whether the link's share has room for the first that waits.
bool Inbox::may_reserve(const Share& share) const {
  if (share.waiting.empty()) return false;
  const Assembly& first = assemblies_.find(share.waiting.front().flow)->second;
  return share.reserved == 0 || share.reserved + first.total <= limits_.assembly_budget / kLinkShare;
}

// After anything that may let `link` or others reserve. Within a link in the order they wait: a small message
// never overtakes the large one that waits before it. Links take turns, one message each; one that
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
    Assembly& assembly = assemblies_.find(share.waiting.front().flow)->second;
    if (assembly_used_ > 0 && assembly_used_ + assembly.total > limits_.assembly_budget) return;
    assembly_used_ += assembly.total;
    share.reserved += assembly.total;
    const Wait& first = share.waiting.front();
    share.may_hold -= first.may_hold;
    share.round = first.round;
    share.served = first.flow.source;
    share.waiting.pop_front();
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
    share.may_hold -= gone.waits_at->may_hold;
    share.waiting.erase(gone.waits_at);
  }
  assemblies_.erase(found);
  if (gone.place == Assembly::Place::kReserved)
    unreserve(gone.link, gone.total);
  else if (gone.place == Assembly::Place::kWaiting)
    reserve_next(gone.link);
}

void Inbox::give_back(Charge& charge) {
  if (is_closed_) return;
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
  owner_.send_control(flow.source, kStreamCredit, pack_credit(flow.stream, credit, false));
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
  if (is_stream(window->first))
    streams_.give_back(window->first.source, shares_[window->second.link].streams);
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
  for (auto assembly = assemblies_.begin(); assembly != assemblies_.end();) {
    const FlowKey flow = assembly->first;
    const std::uint32_t link = (assembly++)->second.link;
    if (is_cut(link, flow)) forget(flow);
  }
  CutOff cut_off;
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
  tell(cut_off);
}

void Inbox::tell(const CutOff& streams) {
  for (const auto& [link, header] : streams) {
    Charge none;
    owner_.on_message(link, header, {}, none);
  }
}

}  // namespace banyan
