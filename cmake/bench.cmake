# The kernel bench (bench/bench_kernels.c): links the kernels' room only, is built on request.
add_executable(bench_kernels EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_kernels.c)
target_include_directories(bench_kernels PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(bench_kernels PRIVATE tern_kernels)

# The pool bench (bench/bench_pool.c): what a parallel step costs.
add_executable(bench_pool EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_pool.c)
target_include_directories(bench_pool PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(bench_pool PRIVATE tern_base)

# What guessing from repetitions brings (bench/speculation.sh); sees the insides of generation.
add_executable(bench_speculation EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_speculation.c)
target_include_directories(bench_speculation PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(bench_speculation PRIVATE tern_static)

# What streams cost each other (bench/bench_scheduler.c).
add_executable(bench_scheduler EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_scheduler.c)
target_include_directories(bench_scheduler PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(bench_scheduler PRIVATE tern_static)

# The training bench (bench/bench_train.c): products and operations of a training step.
add_executable(bench_train EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_train.c $<TARGET_OBJECTS:tern_train>)
target_include_directories(bench_train PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(bench_train PRIVATE tern_static ${CMAKE_DL_LIBS})

# The search of `tern rag ask` alone (bench/bench_rag_search.c).
add_executable(bench_rag_search EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/bench_rag_search.c)
target_include_directories(bench_rag_search PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(bench_rag_search PRIVATE tern_rag)
