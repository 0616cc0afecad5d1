// parent/start_service.h -- starting and ending children for another context: the callee's side.
//
// What is asked for is the Runner's to do; only ancestors may ask. A cancelled call cancels the start.
// Whoever asked is told when the child is lost, after the answer that it was up, and why: how its process
// ended. The caller's side: parent/remote_runner.h. Thread: the loop's.
#pragma once

#include "parent/start_message.h"

namespace banyan {

constexpr std::size_t kChildrenMax = 4'096;  // of one context, as others ask for them; beyond: dead, busy

class StartService {
 public:
  // Registers itself for kStartChild and kEndChild. Both outlive it.
  StartService(Router& router, Runner& runner);
  StartService(const StartService&) = delete;
  StartService& operator=(const StartService&) = delete;
  ~StartService();

  // From here on requests for children are answered dead (ending).
  void close() { closed_ = true; }

 private:
  void on_start(Incoming& request);
  void on_end(Incoming& request);

  Router& router_;
  Runner& runner_;
  bool closed_ = false;
  Alive alive_;
};

}  // namespace banyan
