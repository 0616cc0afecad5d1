#include "core/fair_share.h"

namespace banyan {

bool FairShare::take(ContextId source, std::uint32_t& of_link, std::uint32_t max) {
  std::uint32_t& has = of_source_[source];
  if (has + of_link < max) return ++has, ++of_link, true;
  if (has == 0) of_source_.erase(source);
  return false;
}

void FairShare::give_back(ContextId source, std::uint32_t& of_link) {
  --of_link;
  if (--of_source_[source] == 0) of_source_.erase(source);
}

}  // namespace banyan
