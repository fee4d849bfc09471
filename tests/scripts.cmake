# Tests that are scripts. Exit code 77 means skipped, and CTest shows it so.
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_FOUND)
  message(WARNING "python3 not found: the script tests are not registered")
  return()
endif()
# The distribution's PyTorch lives with the distribution's interpreter, which need not be the first python3 on the PATH.
set(LACUNA_PYTHON ${Python3_EXECUTABLE} CACHE FILEPATH "Interpreter for the script tests")
if(EXISTS /usr/bin/python3)
  execute_process(COMMAND /usr/bin/python3 -c "import torch" RESULT_VARIABLE no_torch OUTPUT_QUIET ERROR_QUIET)
  if(no_torch EQUAL 0)
    set(LACUNA_PYTHON /usr/bin/python3)
  endif()
endif()

function(lacuna_script_test name)
  add_test(NAME ${name} COMMAND ${LACUNA_PYTHON} ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

lacuna_script_test(project/arrows ${CMAKE_CURRENT_SOURCE_DIR}/project/arrows.py ${PROJECT_SOURCE_DIR})
if(NOT DEFINED LACUNA_INSTALL OR LACUNA_INSTALL)
  lacuna_script_test(project/install_example ${CMAKE_CURRENT_SOURCE_DIR}/project/install_example.py
                     ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_COMMAND})
endif()
lacuna_script_test(train/torch_trajectory ${CMAKE_CURRENT_SOURCE_DIR}/train/torch_trajectory.py $<TARGET_FILE:test_train>)
lacuna_script_test(pruning/torch_methods ${CMAKE_CURRENT_SOURCE_DIR}/pruning/torch_methods.py $<TARGET_FILE:test_pruning>)
lacuna_script_test(train/checkpoint_torch ${CMAKE_CURRENT_SOURCE_DIR}/train/checkpoint_torch.py $<TARGET_FILE:test_train>)
if(TARGET lacuna)
  lacuna_script_test(app/kill_resume ${CMAKE_CURRENT_SOURCE_DIR}/app/kill_resume.py $<TARGET_FILE:lacuna>)
  lacuna_script_test(app/bench_kernels ${CMAKE_CURRENT_SOURCE_DIR}/app/bench_kernels.py $<TARGET_FILE:lacuna>)
  lacuna_script_test(app/interop_cli ${CMAKE_CURRENT_SOURCE_DIR}/app/interop_cli.py $<TARGET_FILE:lacuna>)
  lacuna_script_test(app/interop_torch ${CMAKE_CURRENT_SOURCE_DIR}/app/interop_torch.py torch $<TARGET_FILE:lacuna>
                     $<TARGET_FILE:test_app>)
  # ONNX Runtime is no distribution package: scripts/install_dependencies.sh --oracles makes it an environment of its own.
  set(oracles ${PROJECT_SOURCE_DIR}/.oracles/bin/python)
  if(NOT EXISTS ${oracles})
    set(oracles ${LACUNA_PYTHON})
  endif()
  add_test(NAME app/interop_onnx COMMAND ${oracles} ${CMAKE_CURRENT_SOURCE_DIR}/app/interop_torch.py onnx
           $<TARGET_FILE:lacuna> $<TARGET_FILE:test_app> WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(app/interop_onnx PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 ENVIRONMENT OMP_WAIT_POLICY=passive)
  lacuna_script_test(app/cli_bad_input ${CMAKE_CURRENT_SOURCE_DIR}/app/cli_bad_input.py $<TARGET_FILE:lacuna>)
endif()
