// bootstrap/runtime.cpp -- what the C++ library would bring along to throw exceptions, as plain ends.
//
// The agent is compiled without exceptions and takes only the headers of libstdc++ (and one small object: the
// list). These definitions keep its exception machinery, 35 KB compressed, out of the link. Each is our own
// fault, so each stops the process at once: by an instruction rather than a call, because every string and
// vector checks for what cannot happen.
#include <memory>

extern "C" [[noreturn]] void __cxa_pure_virtual() {
  __builtin_trap();
}

namespace std {

void __throw_bad_alloc() {
  __builtin_trap();
}
void __throw_bad_array_new_length() {
  __builtin_trap();
}
void __throw_bad_function_call() {
  __builtin_trap();
}
void __throw_bad_cast() {
  __builtin_trap();
}
void __throw_length_error(const char*) {
  __builtin_trap();
}
void __throw_logic_error(const char*) {
  __builtin_trap();
}
void __throw_runtime_error(const char*) {
  __builtin_trap();
}
void __throw_out_of_range(const char*) {
  __builtin_trap();
}
void __throw_out_of_range_fmt(const char*, ...) {
  __builtin_trap();
}
void __throw_invalid_argument(const char*) {
  __builtin_trap();
}
void __throw_system_error(int) {
  __builtin_trap();
}

#ifndef __cpp_rtti
// Asked by shared_ptr in place of a typeid comparison; the library holds the only definition.
bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept {
  return false;
}
#endif

}  // namespace std
