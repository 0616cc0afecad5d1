# What every target of ours is compiled with.

find_package(Threads REQUIRED)

add_library(banyan_options INTERFACE)
target_include_directories(banyan_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(banyan_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wno-sign-conversion -Werror)
target_link_libraries(banyan_options INTERFACE Threads::Threads)

if(BANYAN_SANITIZE)
  target_compile_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE} -fno-omit-frame-pointer
                                                  -fno-sanitize-recover=all)
  target_link_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(banyan_options INTERFACE -Wno-maybe-uninitialized)  # false alarms in <regex>, <functional>
  endif()
  if(BANYAN_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # libstdc++'s shared_ptr uses fences, which g++'s sanitizer does not see; the warning would be an error.
    target_compile_options(banyan_options INTERFACE -Wno-tsan)
  endif()
else()
  # Programs read bytes of hosts they do not know. Sanitizers have stricter checks of their own.
  target_compile_options(banyan_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -D_GLIBCXX_ASSERTIONS
                                                  -fstack-protector-strong -fstack-clash-protection)
  target_link_options(banyan_options INTERFACE -Wl,-z,relro,-z,now)
endif()

# banyan_folder(NAME): a library of all sources beside the calling CMakeLists.txt.
function(banyan_folder name)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC banyan_options)
endfunction()
