#include "cli/tree.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cli/draw.h"
#include "core/info.h"
#include "parent/command.h"

namespace banyan::cli {
namespace {

constexpr int kAnswers = 3;  // the quickest counts: the first has to wake everybody on the way
constexpr Nanos kAnswerDeadline = 10 * kSecond;

ContextFacts facts_of_root(ContextId id) {
  ContextFacts facts;
  facts.context = id;
  facts.name = "root";
  facts.method = "-";
  utsname machine;
  if (uname(&machine) == 0) facts.architecture = machine.machine;
  facts.pid = getpid();
  // The second number is the pages in memory, as for every other context (core/info.h).
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    unsigned long all = 0, resident = 0;
    if (std::fscanf(file, "%lu %lu", &all, &resident) == 2) {
      facts.resident_kib = resident * std::uint64_t(sysconf(_SC_PAGESIZE)) / 1024;
    }
    std::fclose(file);
  }
  return facts;
}

}  // namespace

Tree::Tree(const Machinery& machinery, OnOver on_over)
    : FanOut(machinery, std::move(on_over)), works_(count()) {}

Tree::~Tree() {
  for (Work& work : works_) loop_.cancel(work.timer);
}

void Tree::start_work(Index index, const Child& child) {
  Work& work = works_[index];
  work.facts.context = child.id;
  work.facts.parent = router_.id();
  work.facts.name = child.name;
  work.facts.method = child.method;
  work.facts.architecture = child.hello.architecture;
  work.facts.pid = child.hello.pid;
  work.timer = loop_.after(kAnswerDeadline, [this, index] {
    fail(index, make_error(ErrorClass::kTimeout, Phase::kLink, "up, and does not answer", Started::kYes),
         Verdict::kUnreachable, work_began(index));
  });
  ask(index);
}

void Tree::ask(Index index) {
  Work& work = works_[index];
  work.asked_at = loop_.now();
  work.call =
      router_.call(context(index), kInfo, {}, [this, index](const Reply& reply) { on_answer(index, reply); });
}

void Tree::on_answer(Index index, const Reply& reply) {
  Work& work = works_[index];
  work.call = 0;
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
  const Nanos took = loop_.now() - work.asked_at;
  work.facts.round_trip = std::min(work.facts.round_trip.value_or(took), took);
  work.facts.resident_kib = info->rss_kib;
  if (++work.answers < kAnswers) return ask(index);
  conclude(index, {Verdict::kOk, 0});
}

void Tree::give_up_work(Index index) {
  fail(index, make_error(ErrorClass::kCancelled, Phase::kLink, "cancelled", Started::kYes),
       Verdict::kCancelled, work_began(index));
}

void Tree::end_work(Index index) {
  Work& work = works_[index];
  loop_.cancel(std::exchange(work.timer, 0));
  if (work.call != 0) router_.abandon(std::exchange(work.call, 0));
}

void Tree::report() {
  std::vector<ContextFacts> contexts = {facts_of_root(router_.id())};
  for (const Work& work : works_) {
    if (work.answers == kAnswers) contexts.push_back(work.facts);
  }
  if (!output_.style().json) return output_.text(draw_tree(contexts));
  for (const ContextFacts& facts : contexts) output_.context(facts);
}

}  // namespace banyan::cli
