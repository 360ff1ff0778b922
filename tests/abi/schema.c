/* Prints the schema of every registered type, one a line, for schema.py. */
#include <seqmix/seqmix.h>
#include <stdio.h>

int main(void) {
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        const char* json = NULL;
        if (seqmix_type_schema(seqmix_type_name(i), &json) != SEQMIX_OK) {
            fprintf(stderr, "%s\n", seqmix_last_error());
            return 1;
        }
        printf("%s\n", json);
    }
    return 0;
}
