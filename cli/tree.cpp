#include "cli/tree.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace banyan::cli {
namespace {

constexpr int kTimes = 3;  // enough for one that did not have to wake anybody

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
    : Inquiry(machinery, std::move(on_over)), contexts_(count()), has_answered_(count()) {}

void Tree::start_work(Index index, const Child& child) {
  ContextFacts& facts = contexts_[index];
  facts.context = child.id;
  facts.parent = router_.id();
  facts.name = child.name;
  facts.method = child.method;
  facts.architecture = child.hello.architecture;
  facts.pid = child.hello.pid;
  ask(index, kTimes);
}

void Tree::on_answer(Index index, const ContextInfo& info, Nanos quickest) {
  contexts_[index].round_trip = quickest;
  contexts_[index].resident_kib = info.rss_kib;
  has_answered_[index] = true;
  conclude(index, {Verdict::kOk, 0});
}

void Tree::report() {
  std::vector<ContextFacts> contexts = {facts_of_root(router_.id())};
  for (Index i = 0; i < contexts_.size(); ++i) {
    if (has_answered_[i]) contexts.push_back(contexts_[i]);
  }
  if (!output_.style().json) return output_.text(draw_tree(contexts));
  for (const ContextFacts& facts : contexts) output_.context(facts);
}

}  // namespace banyan::cli
