# LAPACKE, over any LAPACK: eigenvalues and linear systems when layers are created and initialised; no
# forward path calls it. Gives the target seqmix_lapack (include directory) and seqmix_link_lapack.
find_path(SEQMIX_LAPACKE_INCLUDE lapacke.h PATH_SUFFIXES lapacke openblas)
find_library(SEQMIX_LAPACKE lapacke)
if(NOT SEQMIX_LAPACKE_INCLUDE OR NOT SEQMIX_LAPACKE)
    message(FATAL_ERROR "LAPACKE was not found: on Debian, apt install liblapacke-dev")
endif()
mark_as_advanced(SEQMIX_LAPACKE_INCLUDE SEQMIX_LAPACKE)

add_library(seqmix_lapack INTERFACE)
target_include_directories(seqmix_lapack SYSTEM INTERFACE ${SEQMIX_LAPACKE_INCLUDE})

# A program that links the installed static library finds it by name.
function(seqmix_link_lapack target)
    target_link_libraries(${target} PRIVATE "$<BUILD_INTERFACE:${SEQMIX_LAPACKE}>"
                          "$<INSTALL_INTERFACE:lapacke>")
endfunction()
