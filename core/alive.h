// core/alive.h -- whether somebody is still there, for tasks he has posted that may run after him.
//
//   loop.post([this, alive = alive_] { if (*alive) ...; });     ~X() { *alive_ = false; }
//
// Like a shared_ptr<bool>, without its atomics and its templates. Thread: all copies on one.
#pragma once

#include <cstdint>

namespace banyan {

class Alive {
 public:
  Alive();  // somebody new, alive
  Alive(const Alive& other);
  Alive& operator=(const Alive&) = delete;
  ~Alive();

  bool& operator*() const { return state_->alive; }

 private:
  struct State {
    std::uint32_t copies = 1;
    bool alive = true;
  };
  State* const state_;
};

}  // namespace banyan
