#include "core/alive.h"

namespace banyan {

Alive::Alive() : state_(new State) {}

Alive::Alive(const Alive& other) : state_(other.state_) {
  ++state_->copies;
}

Alive::~Alive() {
  if (--state_->copies == 0) delete state_;
}

}  // namespace banyan
