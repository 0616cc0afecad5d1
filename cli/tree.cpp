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
    : Inquiry(machinery, std::move(on_over)), on_path_(count()) {}

// Who its parent is, and how it is called, is as the routes tell it.
void Tree::note(const Child& child) {
  ContextFacts& facts = contexts_[child.id];
  facts.context = child.id;
  const RouteMonitor::Place* place = routes_.find(child.id);
  facts.parent = place != nullptr ? place->parent : router_.id();
  facts.name = place != nullptr ? place->name : child.name;
  facts.method = child.method;
  facts.architecture = child.hello.architecture;
  facts.pid = child.hello.pid;
}

void Tree::start_work(Index index, const Child& child) {
  std::deque<ContextId> asked;
  std::vector<Child> path = hops_of(index);
  path.push_back(child);
  for (const Child& context : path) {
    on_path_[index].push_back(context.id);
    if (contexts_.contains(context.id) && context.id != child.id) continue;
    note(context);
    asked.push_back(context.id);
  }
  ask(index, std::move(asked), kTimes);
}

void Tree::on_answer(Index index, ContextId asked, const ContextInfo& info, Nanos quickest) {
  contexts_[asked].round_trip = quickest;
  contexts_[asked].resident_kib = info.rss_kib;
  if (asked == context(index)) conclude(index, {Verdict::kOk, 0});
}

void Tree::report() {
  std::vector<ContextFacts> contexts = {facts_of_root(router_.id())};
  for (const std::vector<ContextId>& path : on_path_) {
    for (const ContextId id : path) {
      const auto found = contexts_.find(id);
      if (found == contexts_.end() || !found->second.round_trip) continue;
      contexts.push_back(found->second);
      contexts_.erase(found);  // each once
    }
  }
  if (!output_.style().json) return output_.text(draw_tree(contexts));
  for (const ContextFacts& facts : contexts) output_.context(facts);
}

}  // namespace banyan::cli
