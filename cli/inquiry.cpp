#include "cli/inquiry.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "parent/command.h"

namespace banyan::cli {
namespace {

constexpr Nanos kAnswerDeadline = 10 * kSecond;

}  // namespace

Inquiry::Inquiry(const Machinery& machinery, OnOver on_over)
    : FanOut(machinery, std::move(on_over)), questions_(count()) {}

Inquiry::~Inquiry() {
  for (Question& question : questions_) loop_.cancel(question.timer);
}

void Inquiry::ask(Index index, std::deque<ContextId> contexts, int times) {
  Question& question = questions_[index];
  question.contexts = std::move(contexts);
  question.times = times;
  ask_next(index);
}

void Inquiry::ask_next(Index index) {
  Question& question = questions_[index];
  question.times_left = question.times;
  question.quickest = std::numeric_limits<Nanos>::max();
  question.timer = loop_.after(kAnswerDeadline, [this, index] {
    fail(index, make_error(ErrorClass::kTimeout, Phase::kLink, "up, and does not answer", Started::kYes),
         Verdict::kUnreachable, work_began(index));
  });
  ask_once(index);
}

void Inquiry::ask_once(Index index) {
  Question& question = questions_[index];
  question.asked_at = loop_.now();
  question.call = router_.call(question.contexts.front(), kInfo, {},
                               [this, index](const Reply& reply) { on_reply(index, reply); });
}

void Inquiry::on_reply(Index index, const Reply& reply) {
  Question& question = questions_[index];
  question.call = 0;
  if (reply.dead != nullptr) {
    loop_.post([this, index, error = error_of(*reply.dead, Phase::kLink, true)] {
      when_explained(index, [this, index, error] {
        if (is_working(index))
          fail(index, lost(index).value_or(error), Verdict::kUnreachable, work_began(index));
      });
    });
    return;
  }
  const Result<ContextInfo> info = ContextInfo::decode(reply.payload);
  if (!info) return fail(index, info.error(), Verdict::kUnreachable, work_began(index));
  question.quickest = std::min(question.quickest, loop_.now() - question.asked_at);
  if (--question.times_left > 0) return ask_once(index);
  loop_.cancel(std::exchange(question.timer, 0));
  const ContextId asked = question.contexts.front();
  question.contexts.pop_front();
  const bool is_last = question.contexts.empty();
  on_answer(index, asked, *info, question.quickest);
  if (!is_last) ask_next(index);
}

void Inquiry::give_up_work(Index index) {
  fail(index, make_error(ErrorClass::kCancelled, Phase::kLink, "cancelled", Started::kYes),
       Verdict::kCancelled, work_began(index));
}

void Inquiry::end_work(Index index) {
  Question& question = questions_[index];
  loop_.cancel(std::exchange(question.timer, 0));
  if (question.call != 0) router_.abandon(std::exchange(question.call, 0));
}

}  // namespace banyan::cli
