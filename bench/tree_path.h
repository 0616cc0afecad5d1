// bench/tree_path.h -- contexts of this machine in a row beneath us, as `banyan run local/local/local` makes
// them.
//
// Each is an agent, a process of its own, started by the one above it; we, the root, are this process. What
// is asked of them is what agents do for programs, on the way that programs ask it. Thread: the loop's, that
// of this process.
#pragma once

#include <vector>

#include "bench/measure.h"
#include "bench/peers.h"
#include "bench/root.h"
#include "parent/remote_runner.h"

namespace banyan::bench {

class TreePath {
 public:
  static constexpr std::size_t kRelaysMax = 3;

  explicit TreePath(std::size_t length = kRelaysMax + 1);
  TreePath(const TreePath&) = delete;
  TreePath& operator=(const TreePath&) = delete;
  ~TreePath();

  // The context i ways down runs on processors[i % processors.size()]; we are 0. Commands run where the
  // context does that runs them.
  void place(const std::vector<int>& processors);
  double processor_time_us() const;  // of all of them, us included

  // Calls to the context behind so many others. Each asks it to end a child that is not there: a request that
  // is decoded, looked for in a table, and answered a moment later from the loop, with nothing.
  static std::size_t call_wire_bytes();                               // of the request; the reply is a header
  void round_trips(std::size_t relays, int count, Samples& samples);  // one after another
  void many_calls(std::size_t relays, int outstanding, int count);

  // What a command in the context behind so many others writes, until we have had it.
  StreamCost command_stream(std::size_t relays, std::size_t bytes);

 private:
  ContextId behind(std::size_t relays) const { return contexts_[relays].id; }

  Root root_;
  RemoteRunner remote_;
  std::vector<Child> contexts_;
};

// "on one core", and so on.
struct TreePlace {
  const char* what;
  std::vector<int> processors;
};
const std::vector<TreePlace>& tree_places();

}  // namespace banyan::bench
