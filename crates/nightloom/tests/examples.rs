//! The lessons of `examples/` run to their end, with the assertions in them.

use std::error::Error;

#[path = "../../../examples/04_client_and_service.rs"]
mod client_and_service;
#[path = "../../../examples/03_compile_a_model.rs"]
mod compile_a_model;
#[path = "../../../examples/01_encrypt_and_add.rs"]
mod encrypt_and_add;
#[path = "../../../examples/02_multiply_and_rescale.rs"]
mod multiply_and_rescale;
#[path = "../../../examples/05_bring_your_own_layers.rs"]
mod own_layers;
#[path = "../../../examples/06_train_without_seeing.rs"]
mod train_without_seeing;

#[test]
fn lesson_1_encrypt_and_add() -> Result<(), Box<dyn Error>> {
    encrypt_and_add::main()
}

#[test]
fn lesson_2_multiply_and_rescale() -> Result<(), Box<dyn Error>> {
    multiply_and_rescale::main()
}

#[test]
fn lesson_3_compile_a_model() -> Result<(), Box<dyn Error>> {
    compile_a_model::main()
}

#[test]
fn lesson_4_client_and_service() -> Result<(), Box<dyn Error>> {
    client_and_service::main()
}

#[test]
fn lesson_5_bring_your_own_layers() -> Result<(), Box<dyn Error>> {
    own_layers::main()
}

#[test]
fn lesson_6_train_without_seeing() -> Result<(), Box<dyn Error>> {
    train_without_seeing::main()
}
