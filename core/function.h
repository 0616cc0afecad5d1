// core/function.h -- something to call later: std::function without what the agent would pay for it.
//
// Moved, never copied. Two words that are moved as bytes are held in place, all else on the heap; so every
// Function is moved as bytes, by code that is there once for all types. What it held is destroyed only when
// it holds the new. To call an empty one is our own fault. Thread: one at a time.
#pragma once

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace banyan {

// What does not depend on types.
class FunctionBase {
 public:
  explicit operator bool() const { return kind_ != nullptr; }

 protected:
  struct Kind {
    void (*run)();                // of a type that Function knows
    void (*destroy)(void* held);  // null: nothing to destroy
  };

  FunctionBase() = default;
  FunctionBase(FunctionBase&& other) noexcept;
  FunctionBase& operator=(FunctionBase&& other) noexcept;
  ~FunctionBase();

  const Kind* kind_ = nullptr;  // null: empty
  mutable void* held_[2];       // itself, or where on the heap it lies
};

template <class Signature>
class Function;

template <class Result, class... Arguments>
class Function<Result(Arguments...)> : public FunctionBase {
 public:
  Function() = default;
  Function(std::nullptr_t) {}  // NOLINT: implicit, as of a pointer
  template <class Callable>
  requires(!std::same_as<std::decay_t<Callable>, Function> &&
           std::is_invocable_r_v<Result, std::decay_t<Callable>&, Arguments...>)
      Function(Callable&& callable) {  // NOLINT: implicit, so a lambda is one
    using Held = std::decay_t<Callable>;
    if constexpr (std::is_constructible_v<Held, std::nullptr_t>)
      if (callable == nullptr) return;
    if constexpr (sizeof(Held) <= sizeof held_ && alignof(Held) <= alignof(void*) &&
                  std::is_trivially_copyable_v<Held>) {
      new (held_) Held(std::forward<Callable>(callable));
      kind_ = &kInPlace<Held>;
    } else {
      held_[0] = new Held(std::forward<Callable>(callable));
      kind_ = &kOnHeap<Held>;
    }
  }

  Result operator()(Arguments... arguments) const {
    return reinterpret_cast<Run*>(kind_->run)(held_, std::forward<Arguments>(arguments)...);
  }

 private:
  using Run = Result(void** held, Arguments... arguments);

  template <class Held>
  static Result run_in_place(void** held, Arguments... arguments) {
    return (*std::launder(reinterpret_cast<Held*>(held)))(std::forward<Arguments>(arguments)...);
  }
  template <class Held>
  static Result run_on_heap(void** held, Arguments... arguments) {
    return (*static_cast<Held*>(*held))(std::forward<Arguments>(arguments)...);
  }
  template <class Held>
  static void destroy(void* held) {
    delete static_cast<Held*>(held);
  }
  template <class Held>
  inline static const Kind kInPlace = {reinterpret_cast<void (*)()>(&run_in_place<Held>), nullptr};
  template <class Held>
  inline static const Kind kOnHeap = {reinterpret_cast<void (*)()>(&run_on_heap<Held>), &destroy<Held>};
};

}  // namespace banyan
