#include "parent/remote_runner.h"

#include <list>
#include <utility>

#include "core/text.h"
#include "parent/back_channel.h"
#include "parent/command.h"

namespace banyan {

namespace {
constexpr Nanos kAnswerGrace = 2 * kSecond;  // beyond the time in which a child was to end
// Beyond the deadlines of a start, which the context itself sees to: a person may have been asked meanwhile.
constexpr Nanos kStartGrace = 300 * kSecond;

Nanos longest(const Deadlines& deadlines) {
  return kStartGrace + (deadlines.total > 0 ? deadlines.total
                                            : deadlines.until_ready + 2 * deadlines.upload + deadlines.hello);
}
}  // namespace

RemoteRunner::~RemoteRunner() {
  *alive_ = false;
  while (!starts_.empty()) take(starts_.begin()->first);
}

RemoteRunner::StartId RemoteRunner::start(ContextId at, Recipe recipe, OnUp on_up, OnLost on_lost) {
  const StartId id = next_++;
  Start& start = starts_[id];
  start.at = at;
  start.name = recipe.name;
  start.method = recipe.method;
  start.on_up = std::move(on_up);
  start.on_lost = std::move(on_lost);
  start.lost =
      router_.add_handler(Access::only(at), [this, id](Incoming& message) { this->on_lost(id, message); });
  if (start.answerer = std::as_const(recipe).extra().answerer; start.answerer) {
    start.asked =
        router_.add_handler(Access::only(at), [this, id](Incoming& request) { on_question(id, request); });
    recipe.extra().answered_by = router_.id();
    recipe.extra().answered_at = start.asked;
  }
  start.timer = router_.loop().after(longest(recipe.deadlines), [this, id, at] {
    Error why{ErrorClass::kTimeout, Phase::kHello, "the hop has not said what became of it", {}};
    why.context = at;
    starts_.find(id)->second.timer = 0;
    give_up(id, why);
  });
  StartRequest request;
  request.recipe = std::move(recipe);
  request.lost = start.lost;
  start.call =
      router_.call(at, kStartChild, request.encode(), [this, alive = alive_, id](const Reply& reply) {
        if (*alive) on_reply(id, reply);
      });
  return id;
}

// What it says of a context that is not its child, or is not there, is no word of a child.
Result<Child> RemoteRunner::judge(const Start& start, const Reply& reply) const {
  if (reply.dead != nullptr) {
    Error error = error_of(*reply.dead, Phase::kHello, false);
    if (error.context == 0) error.context = start.at;
    return error;
  }
  Result<Child> child = StartReply::decode(reply.payload, start.at);
  if (!child) return child;
  const std::optional<ContextId> parent = router_.parent_of(child->id);
  if (!parent) return Error{ErrorClass::kDead, Phase::kHello, "it came up, and ended at once", {}};
  if (*parent != start.at)
    return Error{
        ErrorClass::kProtocol, Phase::kHello, "its parent names a context that is not its child", {}};
  child->name = start.name;
  child->method = start.method;
  return child;
}

void RemoteRunner::on_reply(StartId id, const Reply& reply) {
  const auto found = starts_.find(id);
  found->second.call = 0;
  end_questions(found->second);
  Result<Child> child = judge(found->second, reply);
  if (!child) return take(id).on_up(child);
  found->second.child = child->id;
  router_.loop().cancel(std::exchange(found->second.timer, 0));
  std::exchange(found->second.on_up, nullptr)(child);
}

// What its processes ask is answered until it is up, and not afterwards.
void RemoteRunner::on_question(StartId id, Incoming& request) {
  const Header& call = request.header;
  const auto found = starts_.find(id);
  std::uint32_t visitor = 0;
  Bytes question;
  if (call.reply_to == kNoReply || call.stream != kCallStream) return;
  // Who counts them over there may be an enemy.
  if (found == starts_.end() || !found->second.answerer || ++found->second.questions > kQuestionsMax ||
      !RemoteAnswerer::decode(request.payload, visitor, question))
    return router_.reply_dead(call, DeadReason::kRefused, "nobody answers that");
  const std::shared_ptr<Answerer> answerer = found->second.answerer;
  answerer->ask(visitor, question, [this, alive = alive_, call](Bytes answer) {
    if (*alive) router_.reply(call, Buffer(answer.begin(), answer.end()));
  });
}

void RemoteRunner::end_questions(Start& start) {
  if (start.asked != 0) router_.remove_handler(std::exchange(start.asked, 0));
  start.answerer.reset();
}

void RemoteRunner::on_lost(StartId id, Incoming& message) {
  const auto found = starts_.find(id);
  if (found == starts_.end() || found->second.child == 0) return;
  const Start start = take(id);
  if (start.done) return start.done();
  start.on_lost(start.child, LossNotice::decode(message.payload, start.at));
}

void RemoteRunner::cancel(StartId id) {
  const auto found = starts_.find(id);
  if (found != starts_.end() && found->second.call != 0) router_.cancel(found->second.call);
}

void RemoteRunner::give_up(StartId id, const Error& why) {
  const auto found = starts_.find(id);
  if (found == starts_.end() || found->second.child != 0) return;
  const Start start = take(id);
  start.on_up(why);
}

void RemoteRunner::shut_down(ContextId child, Nanos within, Function<void()> done) {
  auto found = starts_.begin();
  while (found != starts_.end() && (found->second.child != child || found->second.done)) ++found;
  if (found == starts_.end()) return router_.loop().post(std::move(done));
  const StartId id = found->first;
  Start& start = found->second;
  start.done = std::move(done);
  start.timer = router_.loop().after(within + kAnswerGrace, [this, id] { ended(id); });
  start.call = router_.call(start.at, kEndChild, EndRequest{child, within}.encode(),
                            [this, alive = alive_, id](const Reply&) {
                              if (*alive) ended(id);
                            });
}

void RemoteRunner::ended(StartId id) {
  if (!starts_.contains(id)) return;
  const Start start = take(id);
  start.done();
}

// Told when all are out of the table: who hears it may ask for more.
void RemoteRunner::lost(ContextId at, const Error& why) {
  std::list<StartId> there;
  for (const auto& [id, start] : starts_)
    if (start.at == at && start.child != 0) there.push_back(id);
  std::list<Start> gone;
  for (const StartId id : there) gone.push_back(take(id));
  for (Start& start : gone) {
    if (start.done) {
      start.done();
    } else {
      start.on_lost(start.child, why);
    }
  }
}

RemoteRunner::Start RemoteRunner::take(StartId id) {
  const auto found = starts_.find(id);
  Start start = std::move(found->second);
  starts_.erase(found);
  router_.loop().cancel(start.timer);
  router_.remove_handler(start.lost);
  end_questions(start);
  if (start.call != 0) router_.abandon(start.call);
  return start;
}

}  // namespace banyan
