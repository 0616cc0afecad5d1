# The unit tests once more, against the code as it is shipped: same compiler, C library and flags. Included by the
# project of the images (bootstrap/image/); tests/CMakeLists.txt builds and runs the program, for this machine only.
# Catch needs more than an image has, so a look-alike takes its place (tests/support/agent_catch/).
set(sources)
foreach(folder core parent simulation)
  file(GLOB found CONFIGURE_DEPENDS ${top}/tests/${folder}/*.cpp)
  list(APPEND sources ${found})
endforeach()
add_executable(unit_tests_agent EXCLUDE_FROM_ALL ${sources} ${top}/tests/support/agent_catch/main.cpp)
target_include_directories(unit_tests_agent SYSTEM PRIVATE ${top}/tests/support/agent_catch)
target_link_libraries(unit_tests_agent PRIVATE context)
# A 64-bit random number as an index loses nothing that a test counts on; in what is tested the warning stays.
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "-Wno-conversion;-Wno-narrowing")
endif()
