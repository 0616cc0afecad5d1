// Router: what is for us. Handlers, calls of ours and of others, cancels, dead messages.
#include <utility>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/router.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kDeadTextMax = 512;  // enough for a sentence; the peer's word is not worth more memory

constexpr std::uint32_t kLinkShare = 4;  // of the calls served, and of answers: what one link may have

constexpr std::string_view kTooManyCalls = "too many calls are being served here";

bool is_call(const Header& header) {
  return header.stream == kCallStream && header.reply_to != kNoReply && !header.has(kControl);
}

}  // namespace

// --- for us ---

void Router::deliver(std::uint32_t from, const Header& header, Bytes payload) {
  ++counters_.delivered;
  if (header.has(kControl)) return deliver_control(from, header, payload);
  inbox_.accept(from, header, payload);
}

void Router::deliver_control(std::uint32_t from, const Header& header, Bytes payload) {
  if (header.is_dead()) return on_dead_message(from, header, payload);
  Unpacker in(payload);
  switch (header.handle) {
    case kStreamCredit: {
      if (in.array() != 3) return;
      const FlowKey flow{config_.id, header.source, StreamId(in.number(UINT32_MAX))};
      const std::uint64_t bytes = in.number();
      const bool was_refused = in.number(1) != 0;
      if (in.finish()) was_refused ? outbox_.on_refused(flow, bytes) : outbox_.on_credit(flow, bytes);
      return;
    }
    case kStreamBlocked: {
      if (in.array() != 1) return;
      const auto stream = StreamId(in.number(UINT32_MAX));
      if (in.finish()) inbox_.on_blocked({header.source, config_.id, stream});
      return;
    }
    case kCancel: {
      if (in.array() != 1) return;
      const Handle call = in.number();
      if (in.finish()) served_.cancel(from, header.source, call);
      return;
    }
    case kIntroduce: {
      if (from != parent_ || in.array() != 2) return;
      const auto one = ContextId(in.number(UINT32_MAX));
      const auto other = ContextId(in.number(UINT32_MAX));
      if (in.finish()) introduce(one, other);
      return;
    }
    case kShutdown: {
      // The parent's alone to say.
      if (from != parent_ || in.array() != 1) return;
      const std::uint64_t milliseconds = in.number(UINT32_MAX);
      if (in.finish() && on_shutdown) on_shutdown(Nanos(milliseconds) * kMillisecond);
      return;
    }
    case kAddRoute:
    case kDelRoute:
    case kAllocateId:
    case kDetaching: {
      Peer* neighbour = peer(from);
      if (neighbour != nullptr && neighbour->id != header.source)
        return neighbour->link->fail(Error{
            ErrorClass::kProtocol, Phase::kLink, "news of routes that are not the neighbour's own", {}});
      if (neighbour != nullptr && on_route_control)
        return on_route_control(*neighbour->link, neighbour->id, header, payload);
      break;
    }
    default: {
      auto waiting = pending_.find(header.handle);
      if (waiting == pending_.end()) break;
      if (is_answer(waiting->second, from, header)) return complete(header.handle, Reply{payload});
      ++counters_.refused;
      return;
    }
  }
  answer_dead(from, header, DeadReason::kNoHandle, cat("no handle ", header.handle, " for control"));
}

// A reply counts only from the callee and by the way the call went.
bool Router::is_answer(const Pending& pending, std::uint32_t link, const Header& header) const {
  return pending.link == link && pending.callee == header.source && !pending.deaths_only &&
         pending.by_control == header.has(kControl) && !header.has(kAborted);
}

bool Router::on_message(std::uint32_t link, const Header& header, Bytes payload, Charge& charge) {
  auto waiting = pending_.find(header.handle);
  if (waiting != pending_.end()) {
    const bool is_ours = is_answer(waiting->second, link, header);
    is_ours ? complete(header.handle, Reply{payload}) : void(++counters_.refused);
    return is_ours;
  }
  if (header.handle == kCancel) return on_cancel_message(link, header, payload), true;
  auto found = handlers_.find(header.handle);
  if (found == handlers_.end()) {
    answer_dead(link, header, DeadReason::kNoHandle, cat("nothing listens at handle ", header.handle));
    return false;
  }
  const std::shared_ptr<HandlerEntry> handler = found->second;  // it may remove itself while it runs
  const Access& access = handler->access;
  const bool allowed = access.kind == Access::Kind::kOnly
                           ? header.source == access.context
                           : access.kind == Access::Kind::kAnyone || header.authority == config_.id ||
                                 is_ancestor(header.authority);
  if (!allowed) {
    ++counters_.refused;
    answer_dead(link, header, DeadReason::kRefused,
                cat("context ", header.source, " may not speak to this handle"));
    return false;
  }
  if (is_call(header)) {
    if (refuse_more(link, header)) return true;
    switch (served_.begin(link, header)) {
      case ServedCalls::Verdict::kBegins:
        break;
      case ServedCalls::Verdict::kTwice:  // an answer would be taken for the first one's
        ++counters_.refused;
        return true;
      case ServedCalls::Verdict::kFull:
        return answer_dead(link, header, DeadReason::kBusy, kTooManyCalls), true;
      case ServedCalls::Verdict::kCancelled:
        return answer_dead(link, header, DeadReason::kCancelled, "cancelled before it began"), true;
    }
  }
  Incoming incoming{header, payload, charge, link};
  handler->run(incoming);
  return true;
}

// The cancel that has kept its place behind the call.
void Router::on_cancel_message(std::uint32_t link, const Header& header, Bytes payload) {
  Unpacker in(payload);
  if (in.array() != 1) return;
  const Handle call = in.number();
  if (!in.finish() || !served_.cancel_in_order(header.source, call, header.reply_to)) return;
  if (!refuse_more(link, header)) acknowledge(header.source, header.reply_to);
}

// Who asks and gives no credit for the answers does not make us keep ever more of them.
bool Router::refuse_more(std::uint32_t link, const Header& header) {
  const Peer* from = peer(link);
  if (from == nullptr || from->answers < config_.served_max / kLinkShare) return false;
  answer_dead(link, header, DeadReason::kBusy, kTooManyCalls);
  return true;
}

// On the stream of the replies, so after the outcome.
void Router::acknowledge(ContextId caller, Handle acknowledge_to) {
  if (acknowledge_to != kNoReply) send(caller, acknowledge_to, {}, kReplyStream);
}

// One that came here, or was to pass. Who waits for it is told just as its sender is.
void Router::refuse(std::uint32_t link, const Header& header, Refusal why) {
  static constexpr std::string_view kTexts[] = {"too long", "too many long messages", "too many streams",
                                                "a stream window was overrun"};
  const std::string_view text = kTexts[std::size_t(why)];
  ++counters_.refused;
  Peer* from = peer(link);
  // The neighbour itself knows better; of somebody behind it only the stream suffers.
  if (why == Refusal::kOverrun && from != nullptr && from->id == header.source)
    return from->link->fail(Error{ErrorClass::kProtocol, Phase::kLink, text, {}});
  if (why == Refusal::kStreams)
    send_control(header.source, kStreamCredit, pack_credit(header.stream, header.wire_bytes(), true));
  const DeadReason reason = why == Refusal::kTooLarge ? DeadReason::kTooLarge
                            : why == Refusal::kBusy   ? DeadReason::kBusy
                                                      : DeadReason::kQuota;
  answer_dead(link, header, reason, text);
  const auto waiting = pending_.find(header.handle);
  if (waiting == pending_.end() || !is_answer(waiting->second, link, header)) return;
  const Dead dead{reason, std::string(text), config_.id};
  complete(header.handle, Reply{{}, &dead});
}

void Router::look_later() {
  next_look_ = loop_.after(kProgressEvery, [this] { inbox_.look_at_progress(); });
}

void Router::add_handler(Handle handle, Access access, Handler handler) {
  ASSERT(!handlers_.contains(handle));
  handlers_[handle] = std::make_shared<HandlerEntry>(HandlerEntry{access, std::move(handler)});
}

Handle Router::add_handler(Access access, Handler handler) {
  const Handle handle = fresh_handle();
  add_handler(handle, access, std::move(handler));
  return handle;
}

void Router::remove_handler(Handle handle) {
  handlers_.erase(handle);
}

Handle Router::fresh_handle() {
  for (;;) {
    const Handle handle = loop_.random();
    if (handle >= kFirstDynamicHandle && !handlers_.contains(handle) && !pending_.contains(handle))
      return handle;
  }
}

// --- calls of ours, and replies ---

Router::CallId Router::expect(ContextId callee, OnReply on_reply, bool deaths_only) {
  const Handle handle = fresh_handle();
  pending_[handle] =
      Pending{callee, callee == config_.id ? 0 : next_hop(callee), std::move(on_reply), deaths_only};
  return handle;
}

Router::CallId Router::call(ContextId destination, Handle handle, Buffer payload, OnReply on_reply) {
  const bool is_full = pending_.size() >= config_.calls_max;
  // To nobody it must not even be queued: by the time it leaves there may be a way, and its reply would come
  // by a link that it does not wait for.
  const bool is_to_nobody = destination != config_.id && next_hop(destination) == 0;
  const CallId id = expect(destination, std::move(on_reply), false);
  if (is_full || is_to_nobody) {
    // Answered like everybody else: later, from the loop.
    loop_.post([this, alive = alive_, id, destination, is_full] {
      if (!*alive) return;
      const Dead dead{is_full ? DeadReason::kBusy : DeadReason::kNoRoute,
                      is_full ? std::string("too many calls are waiting here") : no_route_text(destination),
                      config_.id};
      complete(id, Reply{{}, &dead});
    });
    return id;
  }
  send(destination, handle, std::move(payload), kCallStream, id);
  return id;
}

Router::CallId Router::control_call(ContextId neighbour, Handle handle, Bytes payload, OnReply on_reply) {
  const CallId id = expect(neighbour, std::move(on_reply), false);
  pending_.find(id)->second.by_control = true;
  send_control(neighbour, handle, payload, id);
  return id;
}

// Twice: see core/served_calls.h.
void Router::cancel(CallId call, OnReply on_acknowledged) {
  auto waiting = pending_.find(call);
  if (waiting == pending_.end()) {
    if (!on_acknowledged) return;
    return loop_.post([on_acknowledged = std::move(on_acknowledged)] { on_acknowledged(Reply{}); });
  }
  // Somebody waits for that already: one word for both.
  if (const auto earlier = pending_.find(waiting->second.cancel); earlier != pending_.end()) {
    if (!on_acknowledged) return;
    OnReply& on_reply = earlier->second.on_reply;
    on_reply = [first = std::move(on_reply), then = std::move(on_acknowledged)](const Reply& reply) {
      first(reply);
      then(reply);
    };
    return;
  }
  const ContextId callee = waiting->second.callee;
  const Buffer payload = Packer().array(1).number(call).take();
  send_control(callee, kCancel, payload);
  const Handle acknowledge_to =
      on_acknowledged ? expect(callee, std::move(on_acknowledged), false) : kNoReply;
  waiting->second.cancel = acknowledge_to;
  send(callee, kCancel, payload, kCallStream, acknowledge_to);
}

void Router::abandon(CallId call) {
  cancel(call);
  pending_.erase(call);
}

void Router::reply(const Header& to, Buffer payload) {
  if (to.reply_to == kNoReply) return;
  if (payload.size() > config_.inbox.message_max)
    return reply_dead(to, DeadReason::kTooLarge, cat("the reply would have ", payload.size(), " bytes"));
  if (is_call(to) && !served_.serves(to)) return;  // who called is gone
  const Handle acknowledge_to = is_call(to) ? served_.finish(to) : kNoReply;
  send(to.source, to.reply_to, std::move(payload), kReplyStream);
  acknowledge(to.source, acknowledge_to);
}

void Router::reply_dead(const Header& to, DeadReason reason, std::string_view text) {
  if (is_call(to) && !served_.serves(to)) return;
  const Handle acknowledge_to = is_call(to) ? served_.finish(to) : kNoReply;
  answer_dead(to.source == config_.id ? 0 : next_hop(to.source), to, reason, text);
  acknowledge(to.source, acknowledge_to);
}

// --- dead ---

std::string Router::no_route_text(ContextId destination) const {
  return cat("no route to ", destination, ", this is ", config_.id);
}

// To whoever sent `header`, back through the link it came in on (0: it was ourselves).
void Router::answer_dead(std::uint32_t through, const Header& header, DeadReason reason,
                         std::string_view text) {
  if (header.reply_to == kNoReply || header.is_dead()) return;
  ++counters_.dead_sent;
  const Buffer payload =
      Packer().array(2).number(std::uint8_t(reason)).text(text.substr(0, kDeadTextMax)).take();
  const Header dead = control_to(header.source, header.reply_to, kIsDead, payload);
  if (Peer* back = peer(through)) return back->link->send_control(dead, payload);
  if (header.source == config_.id) transmit(dead, payload);
}

void Router::on_dead_message(std::uint32_t from, const Header& header, Bytes payload) {
  auto waiting = pending_.find(header.handle);
  if (waiting == pending_.end()) return;
  // News of a death counts from the callee, from us, from an ancestor, or from who lies on the way; a way
  // that leads up is not known here, so there the link and the unguessable handle decide.
  const Pending& pending = waiting->second;
  const Peer* neighbour = peer(from);
  const bool from_us = from == 0;
  const bool by_the_way = neighbour != nullptr && pending.link == from &&
                          (neighbour->is_parent || header.source == pending.callee ||
                           header.source == neighbour->id || lies_on_the_way(header.source, pending.callee));
  const bool believed = from_us || by_the_way;
  Unpacker in(payload);
  const bool well_formed = in.array() == 2;
  const auto reason = std::uint8_t(in.number(kDeadReasonCount - 1));
  const std::string_view text = in.text();
  if (!believed || !well_formed || !in.finish()) {
    ++counters_.refused;
    return;
  }
  const Dead dead{DeadReason(reason), std::string(text.substr(0, kDeadTextMax)), header.source};
  // What went that way reached no window that could give it back; and ids are never reused, so nothing else
  // will. (What had no way, or may not go it, is given back by whoever refused it.)
  if (header.source != pending.callee) {
    if (dead.reason == DeadReason::kGone) outbox_.refill({pending.callee, 1});
    if (dead.reason == DeadReason::kNoRoute) outbox_.forget(pending.callee);
  }
  complete(header.handle, Reply{{}, &dead});
}

void Router::complete(Handle handle, const Reply& reply) {
  auto waiting = pending_.find(handle);
  if (waiting == pending_.end()) return;
  const OnReply on_reply = std::move(waiting->second.on_reply);
  pending_.erase(waiting);
  on_reply(reply);
}

void Router::fail_pending(const Function<bool(const Pending&)>& is_lost, const Dead& dead) {
  std::list<Handle> failed;
  for (const auto& [handle, pending] : pending_)
    if (is_lost(pending)) failed.push_back(handle);
  for (const Handle handle : failed) complete(handle, Reply{{}, &dead});
}

}  // namespace banyan
