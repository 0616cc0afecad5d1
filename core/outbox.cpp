#include "core/outbox.h"

#include <algorithm>
#include <vector>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/stream.h"

namespace banyan {

namespace {

constexpr std::uint32_t kInLinkMax = 4;  // frames of one flow in the link's queue: enough to fill one write
constexpr std::size_t kFragmentMin = 4 * 1024;  // smaller pieces cost more than waiting for credit
constexpr std::uint64_t kCreditMax = std::uint64_t(1) << 40;  // nobody grants more and means it

// How much of a message goes into a frame. REQUIRES: credit >= kHeaderBytes. Credit may be more than a size_t
// holds.
std::size_t payload_for(std::uint64_t credit) {
  return std::size_t(std::min<std::uint64_t>(credit - kHeaderBytes, kFramePayloadMax));
}

}  // namespace

Outbox::Flow& Outbox::flow(const FlowKey& key) {
  auto [found, is_new] = flows_.emplace(key, Flow());
  if (is_new) found->second.credit = first_window_;
  return found->second;
}

bool Outbox::holds(const Function<bool(const FlowKey&)>& matches) const {
  for (const auto& [key, flow] : flows_)
    if (!flow.queue.empty() && matches(key)) return true;
  return false;
}

void Outbox::post(const Header& header, Buffer payload) {
  const FlowKey key = flow_of(header);
  queued_bytes_ += payload.size();
  flow(key).queue.push_back(Message{header, std::move(payload)});
  pump(key);
}

void Outbox::send_now(Header header, Bytes payload) {
  Flow& f = flow(flow_of(header));
  ASSERT(f.queue.empty());
  header.flags = kFirst | kLast;
  header.length = std::uint32_t(payload.size());
  ASSERT(f.credit >= header.wire_bytes());
  f.credit -= header.wire_bytes();
  ++f.in_link;
  owner_.transmit(header, payload);
}

// Sending may come back here through on_sent(): one pump at a time.
void Outbox::pump(const FlowKey& key) {
  Flow& f = flow(key);
  if (f.pumping) return;
  f.pumping = true;
  while (!f.queue.empty() && f.in_link < kInLinkMax && send_next_frame(key, f)) {
  }
  f.pumping = false;
  settle(key);
}

bool Outbox::send_next_frame(const FlowKey& key, Flow& f) {
  Message& message = f.queue.front();
  const std::size_t left = message.payload.size() - message.at;
  const std::size_t allowed = f.credit > kHeaderBytes ? payload_for(f.credit) : 0;
  Header header = message.header;
  Buffer with_length;
  Bytes payload;
  if (left <= allowed) {
    // The rest, perhaps all of it, perhaps nothing: an empty message still needs its header's worth of
    // credit.
    if (f.credit < kHeaderBytes) return tell_blocked(key, f), false;
    payload = Bytes(message.payload).subspan(message.at);
    header.flags = std::uint8_t(kLast | (message.begun ? 0 : kFirst));
  } else if (allowed < kFragmentMin) {
    return tell_blocked(key, f), false;
  } else if (message.begun) {
    payload = Bytes(message.payload).subspan(message.at, allowed);
    header.flags = 0;
  } else {
    payload = Bytes(message.payload).first(allowed - kLengthPrefixBytes);
    header.flags = kFirst;
    with_length.resize(kLengthPrefixBytes);
    store_le<std::uint64_t>(with_length.data(), message.payload.size());
    with_length.insert(with_length.end(), payload.begin(), payload.end());
  }
  message.at += payload.size();
  message.begun = true;
  queued_bytes_ -= payload.size();
  if (!with_length.empty()) payload = with_length;
  header.length = std::uint32_t(payload.size());
  f.credit -= header.wire_bytes();
  ++f.in_link;
  // The link copies what it cannot write at once, so the message may go as soon as its last frame was given
  // away.
  Message last;
  if (header.has(kLast)) {
    last = std::move(message);
    f.queue.pop_front();
  }
  owner_.transmit(header, payload);
  return true;
}

void Outbox::tell_blocked(const FlowKey& key, Flow& f) {
  if (f.blocked_told) return;
  f.blocked_told = true;
  owner_.send_control(key.destination, kStreamBlocked, Packer().array(1).number(key.stream).buffer());
}

void Outbox::on_sent(const Header& header) {
  auto found = flows_.find(flow_of(header));
  if (found == flows_.end() || found->second.in_link == 0) return;
  --found->second.in_link;
  pump(flow_of(header));
}

void Outbox::on_credit(const FlowKey& key, std::uint64_t bytes) {
  auto found = flows_.find(key);
  if (found == flows_.end()) return;  // a stream that has ended
  Flow& f = found->second;
  f.credit = std::min(f.credit + std::min(bytes, kCreditMax), kCreditMax);
  f.blocked_told = false;
  pump(key);
}

void Outbox::on_refused(const FlowKey& key, std::uint64_t bytes) {
  const auto found = flows_.find(key);
  if (found == flows_.end()) return;
  const std::uint64_t credit = found->second.credit;
  if (credit < first_window_) on_credit(key, std::min(bytes, first_window_ - credit));
}

std::size_t Outbox::waiting(const FlowKey& key) const {
  const auto found = flows_.find(key);
  return found == flows_.end() ? 0 : found->second.queue.size();
}

// The rest of a message whose beginning has nobody: an aborted end in its place.
void Outbox::abort_front(Flow& f) {
  Message& message = f.queue.front();
  queued_bytes_ -= message.payload.size() - message.at;
  Header header = message.header;
  f.queue.pop_front();
  header.flags = kAborted | kLast;
  header.length = 0;
  ++f.in_link;
  owner_.transmit(header, {});
}

void Outbox::refill(IdRange destinations) {
  std::list<FlowKey> stuck;
  for (const auto& [key, f] : flows_)
    if (destinations.contains(key.destination)) stuck.push_back(key);
  for (const FlowKey& key : stuck) {
    auto found = flows_.find(key);
    if (found == flows_.end()) continue;
    Flow& f = found->second;
    f.detached = f.detached || f.sender == nullptr;
    f.credit = std::max<std::uint64_t>(f.credit, first_window_);
    if (!f.queue.empty() && f.queue.front().begun && !f.pumping) abort_front(f);
    if (flows_.contains(key)) pump(key);
  }
}

void Outbox::forget(ContextId destination) {
  for (auto at = flows_.begin(); at != flows_.end();) {
    const FlowKey key = (at++)->first;
    if (key.destination != destination || key.stream >= kFirstFreeStream) continue;
    flow(key).detached = true;
    settle(key);
  }
}

// After anything that may have made room or emptied the flow.
void Outbox::settle(const FlowKey& key) {
  auto found = flows_.find(key);
  if (found == flows_.end()) return;
  Flow& f = found->second;
  if (!f.queue.empty() || f.pumping) return;
  if (f.sender != nullptr) {
    f.sender->room_may_have_come();
    return;
  }
  // An idle flow whose window is as at first need not be remembered; nor one to nobody, when all has come
  // back.
  const bool is_stream = key.stream >= kFirstFreeStream;
  const bool as_new = !is_stream && f.credit == first_window_;
  const bool is_over = f.detached && (is_stream || f.credit >= first_window_);
  if (f.in_link == 0 && (is_over || as_new)) flows_.erase(found);
}

void Outbox::drop(const Function<bool(const FlowKey&)>& matches) {
  std::list<Header> broken_off;  // whoever passes them on is told that no more comes
  for (auto at = flows_.begin(); at != flows_.end();) {
    if (!matches(at->first) || at->second.pumping) {
      ++at;
      continue;
    }
    for (const Message& message : at->second.queue) {
      queued_bytes_ -= message.payload.size() - message.at;
      if (message.begun) broken_off.push_back(message.header);
    }
    if (at->second.sender != nullptr) {  // stays attached until it dies itself
      at->second.queue.clear();
      at->second.in_link = 0;
      ++at;
    } else {
      at = flows_.erase(at);
    }
  }
  for (Header& header : broken_off) {
    header.flags = kAborted | kLast;
    header.length = 0;
    owner_.transmit(header, {});
  }
}

void Outbox::attach(const FlowKey& key, StreamSender& sender) {
  flow(key).sender = &sender;
}

void Outbox::detach(const FlowKey& key, bool keep_queue) {
  Flow& f = flow(key);
  f.sender = nullptr;
  f.detached = true;
  if (!keep_queue) {
    for (const Message& message : f.queue) queued_bytes_ -= message.payload.size() - message.at;
    f.queue.clear();
  }
  settle(key);
}

std::size_t Outbox::room(const FlowKey& key) {
  Flow& f = flow(key);
  if (!f.queue.empty() || f.in_link > 0) return 0;  // more would only be copied
  if (f.credit < kHeaderBytes + kFragmentMin) return tell_blocked(key, f), 0;
  return payload_for(f.credit);
}

}  // namespace banyan
