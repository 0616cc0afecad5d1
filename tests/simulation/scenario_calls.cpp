// Scenario: calls, cancels, and what their answers must be.
#include <algorithm>

#include "core/text.h"
#include "tests/simulation/scenario.h"

namespace banyan::simulation {

namespace {

constexpr std::size_t kShort = 300, kLong = 200'000;

}  // namespace

Scenario::Call* Scenario::call(SimNode& caller, ContextId id, std::size_t bytes, Mode mode, Handle handle) {
  calls_.push_back(std::make_unique<Call>());
  Call& call = *calls_.back();
  call.number = calls_.size();
  call.caller = &caller;
  call.callee = tree_->find(id);
  call.id = id;
  call.handle = handle;
  call.mode = mode;
  call.bytes = bytes;
  call.was_way_known = call.callee != nullptr && is_way_known(caller, *call.callee);
  ++outcome_.calls;
  note("call ", call.number, " from ", caller.id, " to ", id, ", handle ", handle, ", ", bytes,
       " bytes, mode ", int(mode));
  call.call = caller.router.call(id, handle, stamped({call.number, caller.index, std::uint32_t(mode)}, bytes),
                                 [this, &call](const Reply& reply) { on_answer(call, reply); });
  return &call;
}

void Scenario::call_somebody() {
  SimNode* caller = somebody();
  if (caller == nullptr) return;
  const std::size_t bytes = one_in(6) ? below(kLong) : below(kShort);
  const auto mode = Mode(below(std::uint64_t(Mode::kModes)));
  if (one_in(12)) {  // nobody: never given, or much too high
    static constexpr ContextId kNobodies[] = {0xffffffff, 1'000'000, 77'777};
    call(*caller, kNobodies[below(3)], bytes, mode);
    return;
  }
  const auto& nodes = tree_->nodes();
  const SimNode& callee = *nodes[below(nodes.size())];  // dead ones too
  if (!callee.is_known) return;
  call(*caller, callee.id, bytes, mode, one_in(10) ? kFromAbove : kEcho);
}

void Scenario::on_call(SimNode& node, Incoming& message) {
  const std::optional<Stamp> stamp = stamp_of(message.payload);
  if (!stamp || !check_origin(node, message.header, *stamp)) return;
  if (stamp->number == kForged) {
    // Answered like any other, but what it is about is the liar's affair.
    if (message.header.reply_to != kNoReply && message.header.stream == kCallStream && one_in(2))
      node.router.reply(message.header, {});
    return;
  }
  Call& call = *calls_[stamp->number - 1];
  note("call ", call.number, " runs at ", node.id);
  const bool is_clean = is_path_honest(*call.caller, node);
  if (is_clean && call.callee != &node)
    broken(Invariant::kRouteSoundness, cat("call ", call.number, " to ", call.id, " came to ", node.id));
  if (++call.executions > 1 && is_clean)
    broken(Invariant::kAtMostOnce, cat("call ", call.number, " runs again at ", node.id));
  if (call.is_said_over && is_clean)
    broken(Invariant::kScope, cat("call ", call.number, " begins after its cancel was acknowledged"));
  std::uint64_t& last = last_call_[{call.caller->index, node.index}];
  if (is_clean && last > call.number)
    broken(Invariant::kOrder, cat("call ", call.number, " comes to ", node.id, " after call ", last));
  last = call.number;
  call.header = message.header;
  call.is_running = true;
  switch (call.mode) {
    case Mode::kAtOnce:
      return answer(node, call, false);
    case Mode::kDead:
      return answer(node, call, true);
    case Mode::kHolding:
      if (!readers_are_prompt_) kept_.push_back(std::move(message.charge));
      [[fallthrough]];
    case Mode::kLater:
      node.loop.after(Nanos(below(20)) * kMillisecond, [this, &node, &call] { answer(node, call, false); });
      break;
    default:
      break;
  }
  node.router.on_cancel(call.header, [this, &node, &call] {
    note("call ", call.number, " is ended at ", node.id);
    if (one_in(3)) {  // it takes a while
      node.loop.after(Nanos(below(10)) * kMillisecond, [this, &node, &call] { answer(node, call, true); });
    } else {
      answer(node, call, one_in(2));
    }
  });
}

// For ancestors alone: whoever else speaks there must be refused.
void Scenario::on_from_above(SimNode& node, Incoming& message) {
  const std::optional<Stamp> stamp = stamp_of(message.payload);
  if (!stamp || !check_origin(node, message.header, *stamp)) return;
  const SimNode* authority = tree_->find(message.header.authority);
  if (!node.is_tainted() && (authority == nullptr || !node.is_beneath(*authority)))
    broken(Invariant::kAuthority,
           cat("a handler for ancestors runs at ", node.id, " as ", message.header.authority));
  on_call(node, message);
}

void Scenario::answer(SimNode& node, Call& call, bool is_dead) {
  if (!std::exchange(call.is_running, false)) return;
  note("call ", call.number, is_dead ? " is answered dead by " : " is answered by ", node.id);
  if (is_dead) return node.router.reply_dead(call.header, DeadReason::kEnding, "as it was asked");
  call.reply_number = ++last_reply_sent_[{node.index, call.caller->index}];
  node.router.reply(call.header, stamped({call.number, node.index, 0}, kStampBytes + call.bytes / 2));
}

void Scenario::on_answer(Call& call, const Reply& reply) {
  note("call ", call.number, reply.dead != nullptr ? " ends dead" : " ends", " at ", call.caller->id,
       reply.dead != nullptr
           ? cat(": ", name_of(reply.dead->reason), ", ", reply.dead->text, ", says ", reply.dead->from)
           : std::string());
  if (++call.answers > 1)
    return broken(Invariant::kOneCompletion, cat("call ", call.number, " ends ", call.answers, " times"));
  if (call.is_abandoned)
    return broken(Invariant::kOneCompletion, cat("call ", call.number, " was abandoned, and ends"));
  if (call.caller->is_tainted() || (call.callee != nullptr && !is_path_honest(*call.caller, *call.callee)))
    return;
  if (reply.dead != nullptr) {
    call.was_lost = reply.dead->from != call.id;
    return check_death(call, *reply.dead);
  }
  const std::optional<Stamp> stamp = stamp_of(reply.payload);
  if (!stamp || call.callee == nullptr || stamp->number != call.number ||
      stamp->origin != call.callee->index ||
      reply.payload.size() != stamped({}, kStampBytes + call.bytes / 2).size())
    return broken(Invariant::kOneCompletion, cat("call ", call.number, " gets another's reply"));
  std::uint64_t& last = last_reply_[{call.callee->index, call.caller->index}];
  if (call.reply_number < last)
    broken(Invariant::kOrder, cat("the reply to call ", call.number, " comes too late"));
  last = call.reply_number;
}

// A death must be true: the callee is gone, or may not be reached, or itself said so.
void Scenario::check_death(const Call& call, const Dead& dead) {
  if (call.callee == nullptr || !call.callee->is_up || !is_path_whole(*call.caller, *call.callee)) return;
  if (!call.was_way_known) return;
  const auto is_false = [&] {
    switch (dead.reason) {
      case DeadReason::kPolicy:
        return is_allowed(*call.caller, *call.callee) && options_.router.sideways != Sideways::kIntroduced;
      case DeadReason::kRefused:
        return call.handle != kFromAbove || call.callee->is_beneath(*call.caller);
      case DeadReason::kEnding:
        return call.executions == 0;
      case DeadReason::kCancelled:
        return !call.is_cancelled;
      case DeadReason::kBusy:
      case DeadReason::kQuota:
        return !has_small_limits_;
      case DeadReason::kTooLarge:
        return call.bytes <= options_.router.inbox.message_max;
      default:
        return true;
    }
  };
  if (is_false())
    broken(Invariant::kOneCompletion, cat("call ", call.number, " to ", call.id, ", which lives, ends dead: ",
                                          name_of(dead.reason), ", ", dead.text, ", says ", dead.from));
}

void Scenario::cancel(Call& call) {
  const bool wants_word = one_in(3) ? false : true;
  note("call ", call.number, " is cancelled", wants_word ? ", to be acknowledged" : "");
  call.is_cancelled = true;
  if (!wants_word) return call.caller->router.cancel(call.call);
  ++call.acknowledgements_wanted;
  call.caller->router.cancel(call.call, [this, &call, many = int(0)](const Reply& reply) mutable {
    note("the cancel of call ", call.number, " is acknowledged", reply.dead != nullptr ? ", dead" : "");
    ++call.acknowledgements;
    if (++many > 1)
      return broken(Invariant::kOneCompletion,
                    cat("the cancel of call ", call.number, " is acknowledged twice"));
    if (call.caller->is_tainted() || (call.callee != nullptr && !is_path_honest(*call.caller, *call.callee)))
      return;
    if (reply.dead != nullptr) {
      if (call.callee != nullptr && call.callee->is_up && is_path_whole(*call.caller, *call.callee) &&
          call.was_way_known && is_allowed(*call.caller, *call.callee) &&
          reply.dead->reason != DeadReason::kPolicy && !has_small_limits_)
        broken(Invariant::kScope, cat("the cancel of call ", call.number, " to ", call.id,
                                      ", which lives, ends dead: ", reply.dead->text));
      return;
    }
    if (call.answers == 0 && !call.is_abandoned && !has_small_limits_)
      broken(Invariant::kScope,
             cat("the cancel of call ", call.number, " is acknowledged before its outcome"));
    if (call.was_lost) return;
    call.is_said_over = true;
    if (call.is_running)
      broken(Invariant::kScope, cat("the cancel of call ", call.number, " is acknowledged, and it runs on"));
  });
}

void Scenario::cancel_some() {
  for (int tries = 0; tries < 8 && !calls_.empty(); ++tries) {
    const std::uint64_t recent = std::min<std::uint64_t>(calls_.size(), 20);
    Call& call = *calls_[calls_.size() - 1 - below(recent)];
    if (!call.caller->is_alive || call.is_abandoned) continue;
    if (call.answers > 0 && !one_in(4)) continue;
    if (call.answers == 0 && one_in(6)) {
      note("call ", call.number, " is abandoned");
      call.is_abandoned = call.is_cancelled = true;
      return call.caller->router.abandon(call.call);
    }
    return cancel(call);
  }
}

void Scenario::cancel_rest() {
  for (const auto& call : calls_)
    if (call->caller->is_alive && call->answers == 0 && !call->is_abandoned) cancel(*call);
}

void Scenario::check_all_answered() {
  for (const auto& call : calls_) {
    if (!call->caller->is_connected() || call->caller->is_tainted()) {
      // Who called is gone: nothing may still run for him.
      if (call->is_running && call->callee->is_connected() && !call->callee->is_tainted() &&
          is_path_honest(*call->caller, *call->callee))
        broken(Invariant::kScope, cat("call ", call->number, " runs on, and its caller is gone"));
      continue;
    }
    if (call->answers == 0 && !call->is_abandoned)
      broken(call->callee != nullptr && call->callee->is_connected() ? Invariant::kProgress
                                                                     : Invariant::kNoBlackHole,
             cat("call ", call->number, " from ", call->caller->id, " to ", call->id, " has no end"));
    if (call->acknowledgements < call->acknowledgements_wanted)
      broken(Invariant::kScope, cat("the cancel of call ", call->number, " is not acknowledged"));
    if (call->is_running && call->callee->is_connected() && !call->callee->is_tainted())
      broken(Invariant::kScope, cat("call ", call->number, " was cancelled, and runs on"));
  }
}

}  // namespace banyan::simulation
